"""How the adapter acts on a weight: one file a variant, as settings of peft."""
