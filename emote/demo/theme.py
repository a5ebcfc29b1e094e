"""Colours and type. Every font comes from this server or from the machine: the page asks no other host for anything."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

# warm greys, and the yellow of a smiley
GREY = colors.Color(
    name="grey", c50="#faf9f7", c100="#f3f1ed", c200="#e6e2db", c300="#d3cdc3", c400="#a69f93", c500="#78726a",
    c600="#59544d", c700="#403c37", c800="#292724", c900="#1d1b19", c950="#141312",
)  # fmt: skip
YELLOW = colors.Color(
    name="smiley", c50="#fff9e8", c100="#fff0c7", c200="#ffe59b", c300="#ffd96e", c400="#ffcc3f", c500="#fbbf24",
    c600="#d99a0b", c700="#a87307", c800="#7c560c", c900="#5c4110", c950="#36260a",
)  # fmt: skip
SANS = (fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=YELLOW,
        secondary_hue=YELLOW,
        neutral_hue=GREY,
        radius_size=sizes.radius_lg,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_400",
        block_title_text_size="*text_sm",
        block_title_text_weight="400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        form_gap_width="0px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_background_fill_focus="white",
        input_background_fill_focus_dark="*neutral_900",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_500",
        input_shadow_focus="0 0 0 3px *primary_100",
        input_shadow_focus_dark="0 0 0 3px *primary_950",
        input_placeholder_color="*neutral_400",
        input_placeholder_color_dark="*neutral_600",
        button_primary_background_fill="*primary_400",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover="*primary_300",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="*neutral_900",
        button_primary_text_color_dark="*neutral_950",
        button_primary_text_color_hover="*neutral_900",
        button_primary_text_color_hover_dark="*neutral_950",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_900",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_large_text_weight="600",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        checkbox_background_color_selected="*primary_500",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_border_width="0px",
        checkbox_label_padding="0px",
        checkbox_label_shadow="none",
    )
