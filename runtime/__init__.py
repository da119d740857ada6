"""The runtime: a trained policy, or any rule, in charge of a really split model in separate processes."""
