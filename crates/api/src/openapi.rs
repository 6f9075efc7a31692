//! The OpenAPI 3.1 document, made from the table of routes. Only xtask and tests carry this.
