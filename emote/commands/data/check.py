"""Say what a data set holds, as a run would, and train nothing.

    emote data check data=folder data.path=my_images
    emote data check data=folder data.path=slack_export.zip data.trigger=myblob
    emote data check experiment=quickstart data=folder data.path=my_images output=check

The words are those of `emote train`; `output=` is the folder for data.txt and data.png (default: data-check).
"""

from __future__ import annotations

import sys
from pathlib import Path

OUTPUT, DEFAULT_OUTPUT = "output=", "data-check"


def main(arguments: list[str]) -> int:
    """Print the report and write data.txt and data.png. Raises ConfigError for mistakes."""
    if {"-h", "--help", "help"} & set(arguments):
        print(__doc__)
        return 0
    from emote.cli.train import compose_config
    from emote.config import OnBadItem
    from emote.util.errors import ConfigError

    output = next((word.removeprefix(OUTPUT) for word in arguments if word.startswith(OUTPUT)), DEFAULT_OUTPUT)
    config = compose_config([word for word in arguments if not word.startswith(OUTPUT)])
    policy, config.data.on_bad_item = config.data.on_bad_item, OnBadItem.skip_any

    from emote.data.policy import apply_policy  # late: what follows imports torch
    from emote.data.prepared import scan
    from emote.models.locate import with_tokenizer
    from emote.training.data_report import report_data
    from emote.util.quiet import quiet_libraries

    quiet_libraries()
    found = report_data(config, scan(config.data), with_tokenizer(config.model), Path(output))
    try:
        apply_policy(len(found.entries), [one for one in found.skipped if one.is_file], policy)
    except ConfigError as error:
        print(f"a run would stop here: {error}", file=sys.stderr)
        return 1
    return 0
