//! The local stack's parts: the AWS endpoints and the Lambda runtime that the real adapters and functions run on.

pub mod aws;
pub mod lambda;
pub mod operator;
