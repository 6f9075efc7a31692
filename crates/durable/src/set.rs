//! Steps that run together.
use crate::body::Stop;
use crate::context::Cx;
use crate::step::Step;
use kiven_ports::Ports;
use std::future::Future;

/// A tuple of steps.
pub trait StepSet<P: Ports>: Send {
    /// The tuple of their outputs.
    type Output;
    /// Places all, records all intents in one write, polls all to their end.
    fn run(self, cx: &Cx<P>) -> impl Future<Output = Result<Self::Output, Stop>> + Send;
}

macro_rules! step_set {
    ($($step:ident $index:tt),+) => {
        impl<P: Ports, $($step: Step<P>),+> StepSet<P> for ($($step,)+) {
            type Output = ($($step::Output,)+);
            async fn run(self, cx: &Cx<P>) -> Result<Self::Output, Stop> {
                let placed = ($(cx.place(self.$index).await?,)+);
                cx.record_intents([$(placed.$index.intent()),+].into_iter()).await?;
                let results = futures_util::join!($(cx.finish(placed.$index)),+);
                Ok(($(results.$index?,)+))
            }
        }
    };
}

step_set!(A 0);
step_set!(A 0, B 1);
step_set!(A 0, B 1, C 2);
step_set!(A 0, B 1, C 2, D 3);
