//! The local stack's parts: the AWS endpoints and the Lambda runtime that the real adapters and functions run on, the operator
//! with real PostgreSQL, and the stack that puts them together.

pub mod aws;
pub mod lambda;
pub mod operator;
mod ports;
pub mod stack;
