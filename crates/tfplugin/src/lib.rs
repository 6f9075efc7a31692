//! The Terraform plugin protocol on tonic.
