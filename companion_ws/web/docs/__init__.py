"""The interface described: OpenAPI, AsyncAPI and the page made from them."""
