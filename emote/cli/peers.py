"""What other trainers call things: kohya's scripts, diffusers' examples, A1111. Their words are understood as hints."""

from __future__ import annotations

from collections.abc import Container

# word → the keys that may be meant, of which each command has one at most or takes the first
SAME: dict[str, tuple[str, ...]] = {}
for _keys, _words in {
    ("trainer.learning_rate",): "lr unet_lr base_lr max_lr",
    ("trainer.max_steps",): "max_train_steps train_steps num_train_steps total_steps iterations iters",
    ("inference_steps", "trainer.max_steps", "callbacks.samples.inference_steps"): "steps num_steps",
    ("inference_steps", "callbacks.samples.inference_steps"):
        "num_inference_steps sample_steps sampling_steps denoising_steps",
    ("guidance_scale", "callbacks.samples.guidance_scale"): "cfg cfg_scale guidance scale_cfg classifier_free_guidance",
    ("scheduler",): "sampler sampler_name sample_sampler noise_scheduler",
    ("trainer.optimizer",): "optimizer optimizer_type optim optimizer_name",
    ("trainer.schedule",): "lr_scheduler lr_scheduler_type scheduler_type lr_schedule",
    ("trainer.lora_plus_ratio",): "loraplus_lr_ratio lora_plus lora_plus_lr_ratio",
    ("trainer.betas",): "adam_beta1 adam_beta2 beta1 beta2 adam_betas",
    ("trainer.epsilon",): "adam_epsilon adam_eps eps",
    ("trainer.weight_decay",): "adam_weight_decay wd",
    ("trainer.accelerator", "device"): "device",
    ("trainer.objective",): "loss_type loss",
    ("trainer.gradient_checkpointing",): "enable_gradient_checkpointing use_gradient_checkpointing",
    ("trainer.compile",): "torch_compile dynamo_backend",
    ("trainer.stop",): "early_stopping early_stop",
    ("seed",): "seed_everything random_seed manual_seed",
    ("lora.variant",): "use_dora dora use_rslora rslora rank_stabilized network_type lycoris_algo algo",
    ("lora.init",): "init_lora_weights lora_init",
    ("data.held_out",): "val_split validation_split val_fraction eval_split test_size",
    ("data.trigger",): "trigger_word instance_token token activation_text class_tokens",
    ("data.repeats",): "num_repeats repeats dataset_repeats n_repeats",
    ("logger.run_name",): "wandb_name wandb_run_name",
    ("logger.entity",): "wandb_entity",
    ("callbacks.extra",): "callback callbacks_list",
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
    ("run.cache_dir", "cache_dir"): "cache hf_cache_dir",
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
    ("trainer.devices", "device"): "gpus num_gpus num_processes n_gpu gpu_ids",
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
        ("cache_latents", "cache_text_encoder_outputs", "cache_latents_to_disk"),
        "images and captions are always encoded once, to run.cache_dir",
    ),
    **dict.fromkeys(
        ("save_every_n_epochs", "sample_every_n_epochs", "eval_epochs", "validation_epochs", "checkpointing_epochs"),
        "there are no epochs, because a run is counted in optimizer steps; set callbacks.checkpoint.every_steps=, "
        "callbacks.samples.every_steps= or callbacks.validation.every_steps=",
    ),
    **dict.fromkeys(
        ("text_encoder_lr", "te_lr", "clip_skip"), "there is none, because the text encoder is not trained, and is "
        "read as Stable Diffusion was trained"
    ),
    **dict.fromkeys(
        ("noise_offset", "multires_noise_iterations", "multires_noise_discount", "ip_noise_gamma", "zero_terminal_snr",
         "adaptive_noise_scale"),
        "there is none, because held-out losses are compared on plain Gaussian noise, as the base model was trained",
    ),
    **dict.fromkeys(
        ("shuffle_caption", "keep_tokens", "caption_tag_dropout_rate", "shuffle_tags"),
        "there is none, because captions are sentences and are encoded once; trainer.caption_dropout= drops whole ones",
    ),
    **dict.fromkeys(
        ("ema", "use_ema", "ema_decay"),
        "there is none of its own, because Lightning has it: "
        "+callbacks.extra.ema._target_=pytorch_lightning.callbacks.WeightAveraging",
    ),
    **dict.fromkeys(
        ("prior_preservation", "with_prior_preservation", "prior_loss_weight", "class_prompt", "reg_data_dir",
         "class_data_dir", "num_class_images"),
        "there is none, because a style is learned and no single subject; held-out concepts show what was forgotten",
    ),
    **dict.fromkeys(
        ("enable_bucket", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso", "buckets"),
        "there is none, because emoji are trained as squares; data.fit=pad or crop says what happens to others",
    ),
    **dict.fromkeys(
        ("use_8bit_adam", "fp8_base", "load_in_8bit", "load_in_4bit", "quantize"),
        "there is none, because an adapter's optimizer state is small; "
        "trainer.gradient_checkpointing=true saves memory",
    ),
    **dict.fromkeys(
        ("full_bf16", "full_fp16"),
        "the frozen weights are in half precision by trainer.precision=, the adapter stays in float32 (lora.dtype=)",
    ),
    **dict.fromkeys(
        ("v_parameterization", "v_pred", "prediction_type", "v2"),
        "the base model's own scheduler says what it predicts",
    ),
    **dict.fromkeys(
        ("max_token_length",), "the text encoder reads what it was trained to read (77 tokens of Stable Diffusion)"
    ),
    **dict.fromkeys(
        ("scale_weight_norms", "rank_dropout", "module_dropout", "bias", "lora_bias"),
        "there is none; lora.dropout=, trainer.weight_decay= and trainer.max_grad_norm= hold an adapter back",
    ),
    **dict.fromkeys(
        ("log_dir", "logging_dir"), "all of a run lies in its directory, also TensorBoard's files; set run.dir="
    ),
    **dict.fromkeys(("tags", "wandb_tags", "wandb_notes"), "set WANDB_TAGS and WANDB_NOTES in the environment"),
    **dict.fromkeys(
        ("sampler", "sampler_name", "sample_sampler", "noise_scheduler"),
        "samples are drawn with one sampler, so that runs compare; emote generate has scheduler=",
    ),
    **dict.fromkeys(
        ("allow_tf32", "tf32"), "there is none, because the frozen weights are in half precision where it would help"
    ),
    **dict.fromkeys(
        ("xformers", "enable_xformers_memory_efficient_attention", "sdpa"),
        "attention uses PyTorch's fused kernels by itself",
    ),
    **dict.fromkeys(
        ("train_text_encoder", "network_train_unet_only", "text_encoder", "train_unet"), "the UNet alone is trained"
    ),
}  # fmt: skip

# what other trainers call a value of ours
VALUES: dict[str, dict[str, str]] = {
    "trainer.schedule": {
        "cosine_with_restarts": "cosine", "cosine_annealing": "cosine", "polynomial": "linear",
        "constant_with_warmup": "constant, with trainer.warmup_steps=", "none": "constant",
    },
    "trainer.optimizer": {"adam": "adamw", "adamw8bit": "adamw", "adamw_8bit": "adamw", "prodigyopt": "prodigy",
                          "adamwschedulefree": "schedule_free", "dadaptation": "prodigy"},
    "trainer.accelerator": {"gpu": "cuda", "0": "cuda", "metal": "mps"},
    "trainer.precision": {"float16": "fp16", "16": "fp16", "16-mixed": "fp16", "half": "fp16", "bfloat16": "bf16",
                          "bf16-mixed": "bf16", "32": "float32", "fp32": "float32", "no": "float32", "full": "float32"},
    "trainer.objective": {"l2": "mse"},
    "lora.variant": {"true": "dora or rslora", "locon": "lora, with lora.targets=all"},
    "lora.init": {"normal": "gaussian", "kaiming_uniform": "kaiming"},
}  # fmt: skip


def peer_key(word: str, known: Container[str]) -> str | None:
    """The key among `known` that another trainer calls `word`; None where it has none."""
    return next((key for key in SAME.get(_plain(word), ()) if key in known), None)


def no_such_key(word: str) -> str | None:
    """Why there is no key for what another trainer calls `word`; None where nothing is known of it."""
    return NONE.get(_plain(word))


def peer_value(key: str, value: object) -> str | None:
    """What another trainer calls by this value of a key of ours, in our words; None where nothing is known of it."""
    return VALUES.get(key, {}).get(str(value).lower())


def _plain(word: str) -> str:
    return word.lstrip("-+~").rpartition(".")[2].lower().replace("-", "_")
