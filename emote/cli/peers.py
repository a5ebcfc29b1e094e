"""What other trainers call things: kohya's scripts, diffusers' examples, A1111. Their words are understood as hints."""

from __future__ import annotations

from collections.abc import Container

# word → the keys that may be meant, of which each command has one at most or takes the first
SAME: dict[str, tuple[str, ...]] = {}
for _keys, _words in {
    ("trainer.learning_rate",): "lr unet_lr text_encoder_lr base_lr",
    ("trainer.max_steps",): "max_train_steps train_steps num_train_steps total_steps iterations iters",
    ("inference_steps", "trainer.max_steps", "callbacks.samples.inference_steps"): "steps num_steps",
    ("inference_steps", "callbacks.samples.inference_steps"):
        "num_inference_steps sample_steps sampling_steps denoising_steps",
    ("guidance_scale", "callbacks.samples.guidance_scale"): "cfg cfg_scale guidance scale_cfg classifier_free_guidance",
    ("scheduler",): "sampler sampler_name sample_sampler noise_scheduler",
    ("trainer.optimizer",): "optimizer_type optim",
    ("trainer.schedule",): "lr_scheduler lr_scheduler_type scheduler_type",
    ("trainer.warmup_steps",): "lr_warmup_steps warmup num_warmup_steps",
    ("trainer.batch_size", "batch_size"): "train_batch_size bs batch per_device_train_batch_size",
    ("trainer.max_micro_batch",): "micro_batch micro_batch_size",
    ("trainer.precision", "precision"): "mixed_precision dtype save_precision weight_dtype half fp16 bf16",
    ("trainer.snr_gamma",): "min_snr_gamma min_snr snr",
    ("trainer.max_grad_norm",): "grad_clip gradient_clip gradient_clip_val clip_grad_norm max_norm",
    ("trainer.caption_dropout",): "caption_dropout_rate proportion_empty_prompts",
    ("lora.rank",): "network_dim lora_rank dim r lora_r network_rank",
    ("lora.alpha",): "network_alpha lora_alpha",
    ("lora.dropout",): "network_dropout lora_dropout",
    ("lora.targets",): "target_modules lora_target_modules network_module",
    ("lora.init_from",): "network_weights lora_weights pretrained_lora",
    ("output", "run.dir"): "output_dir outdir out out_dir save_dir output_path save_path",
    ("runs_dir", "run.dir"): "dir runs run_dir",
    ("run.cache_dir", "cache_dir"): "cache cache_latents_to_disk",
    ("name",): "output_name run_name exp_name experiment_name project_name",
    ("prompts", "callbacks.samples.prompts"):
        "prompt text sample_prompts validation_prompt validation_prompts prompts_file prompt_file",
    ("negative_prompt",): "negative uc neg",
    ("n",): "num_images num_images_per_prompt n_samples n_iter num_samples images_per_prompt count",
    ("data.path",): "train_data_dir dataset dataset_name data_dir instance_data_dir image_dir images_dir",
    ("data.caption",): "instance_prompt caption_template caption_prefix",
    ("data.resolution", "size"): "res image_size width height side",
    ("data.flip",): "random_flip flip_aug horizontal_flip",
    ("data.fit",): "center_crop random_crop",
    ("data.image_column",): "image_key",
    ("data.text_column",): "caption_column text_key caption_key",
    ("data.max_items",): "max_train_samples max_samples limit",
    ("trainer.num_workers",): "dataloader_num_workers max_data_loader_n_workers workers",
    ("model.path", "model"):
        "pretrained_model_name_or_path base_model checkpoint ckpt sd_model base_model_name_or_path",
    ("model.revision",): "pretrained_revision",
    ("run", "lora.init_from"): "adapter lora lora_path input file weights",
    ("lora_scale", "callbacks.samples.lora_scale"): "strength weight multiplier scale adapter_scale",
    ("lora_scales",): "scales strengths",
    ("callbacks.checkpoint.every_steps",): "save_every_n_steps checkpointing_steps save_steps",
    ("callbacks.validation.every_steps",): "validation_steps eval_steps",
    ("callbacks.samples.every_steps",): "sample_every_n_steps",
    ("callbacks.samples.seed", "seed"): "sample_seed",
    ("resume_from",): "resume resume_from_checkpoint ckpt_path",
    ("logger.project",): "wandb_project log_tracker_name project tracker_project_name",
    ("logger",): "report_to log_with",
    ("hub.push",): "push_to_hub",
    ("hub.repo", "repo"): "hub_model_id repo_id",
    ("platforms",): "for platform to target",
    ("trainer.devices", "device"): "gpus num_gpus num_processes",
}.items():  # fmt: skip
    for _word in _words.split():
        SAME[_word] = _keys

# word → why there is no such key, and what there is
NONE = {
    **dict.fromkeys(
        ("epochs", "epoch", "num_epochs", "max_epochs", "num_train_epochs", "max_train_epochs"),
        "there are none, because a run is counted in optimizer steps; set trainer.max_steps=",
    ),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulate_grad_batches", "grad_accum", "gradient_accumulation"),
        "it follows by itself: trainer.batch_size is the whole batch of a step, and trainer.max_micro_batch what the "
        "memory takes at once",
    ),
    **dict.fromkeys(
        ("cache_latents", "cache_text_encoder_outputs"), "images and captions are always encoded once, to a cache"
    ),
    **dict.fromkeys(
        ("xformers", "enable_xformers_memory_efficient_attention", "sdpa"),
        "attention uses PyTorch's fused kernels by itself",
    ),
    **dict.fromkeys(
        ("train_text_encoder", "network_train_unet_only", "text_encoder"), "the UNet alone is trained"
    ),
}  # fmt: skip


def peer_key(word: str, known: Container[str]) -> str | None:
    """The key among `known` that another trainer calls `word`; None where it has none."""
    return next((key for key in SAME.get(_plain(word), ()) if key in known), None)


def no_such_key(word: str) -> str | None:
    """Why there is no key for what another trainer calls `word`; None where nothing is known of it."""
    return NONE.get(_plain(word))


def _plain(word: str) -> str:
    return word.lstrip("-+~").rpartition(".")[2].lower().replace("-", "_")
