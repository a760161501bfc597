"""The saga as pure data and one generator: what is written down, where a saga stands, what happens next."""
