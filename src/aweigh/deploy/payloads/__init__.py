"""Code that other servers run beside a model: copied into what is rendered, never imported here. Needs nothing of aweigh."""
