"""Split serving: messages, transport, segments of a model, the servers of a tier and the device that calls them."""
