//! Provider functions.
use super::{Core, decode, encode};
use crate::panics::guard_now;
use crate::{FunctionError, Value, wire};
use std::sync::Arc;

impl Core {
    pub(crate) async fn functions(self: Arc<Self>, _: wire::Empty) -> wire::FunctionsResponse {
        wire::FunctionsResponse { functions: self.signatures(), diagnostics: Vec::new() }
    }

    pub(crate) async fn call_function(self: Arc<Self>, request: wire::CallRequest) -> wire::CallResponse {
        match self.called(&request) {
            Ok(result) => wire::CallResponse { result: encode(&result), error: None },
            Err(error) => wire::CallResponse { result: None, error: Some(error.to_wire()) },
        }
    }

    fn called(&self, request: &wire::CallRequest) -> Result<Value, FunctionError> {
        let none = || FunctionError::new(format!("This provider has no function `{}`.", request.name));
        let (function, signature) = self.functions.get(&request.name).ok_or_else(none)?;
        let wanted = signature.parameters.len();
        let fits = if signature.variadic.is_some() { request.arguments.len() >= wanted } else { request.arguments.len() == wanted };
        if !fits {
            return Err(FunctionError::new(format!("It takes {wanted} arguments, not {}.", request.arguments.len())));
        }
        let argument = |(position, sent): (usize, &wire::DynamicValue)| {
            let parameter = signature.parameter_at(position).ok_or_else(none)?;
            decode(parameter.value_type(), Some(sent)).map_err(|refused| FunctionError::of_argument(position, refused.detail))
        };
        let arguments: Vec<Value> = request.arguments.iter().enumerate().map(argument).collect::<Result<_, _>>()?;
        guard_now(|| function.call(&arguments)).unwrap_or_else(|panic| Err(FunctionError::new(panic.detail)))
    }
}
