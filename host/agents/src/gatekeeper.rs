//! Tool calls on their way to the client: the agent's policy decides on each, and where it does not, an operator.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::{Hook, SessionId, ToolCall};
use policy::{AgentPolicy, Permission, TurnSource};
use protocol::{StreamCalls, WholeCalls};
use store::Store;

use crate::backend::{BackendBody, BackendError};
use crate::held_calls::HeldCalls;
use crate::metrics::{Metrics, ToolCallLabels};
use crate::registry::Agent;

/// Decides on the tool calls of one turn's answer.
pub(crate) struct Gatekeeper {
    pub(crate) agent: Arc<Agent>,
    pub(crate) session: SessionId,
    pub(crate) policy: Arc<AgentPolicy>,
    pub(crate) turn: Arc<dyn TurnSource>,
    pub(crate) held: Arc<HeldCalls>,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Metrics,
}

/// A stream whose tool calls are held back until they are decided on.
pub(crate) struct Gated {
    inner: BackendBody,
    calls: StreamCalls,
    keeper: Arc<Gatekeeper>,
    deciding: Option<Deciding>,
    /// The inner stream is over; why, when something went wrong.
    ended: Option<Option<BackendError>>,
}

type Deciding = Pin<Box<dyn Future<Output = Vec<Option<String>>> + Send>>;

impl Gatekeeper {
    /// The answer, with nothing in it that is not decided on.
    pub(crate) async fn guard(self: Arc<Self>, body: BackendBody, streamed: bool) -> BackendBody {
        match body {
            BackendBody::Whole(Some(answer)) if streamed => {
                let mut calls = StreamCalls::default();
                let before = calls.push(&answer);
                calls.finish();
                let after = calls.release(&self.decide(calls.due()).await);
                BackendBody::Whole(Some([before, after].concat().into()))
            }
            BackendBody::Whole(Some(answer)) => BackendBody::Whole(Some(match WholeCalls::find(&answer) {
                Some(calls) => {
                    let denials = self.decide(calls.calls().to_vec()).await;
                    calls.release(&denials)
                }
                None => answer,
            })),
            BackendBody::Events(_) | BackendBody::Lifted(_) => BackendBody::Gated(Box::new(Gated {
                inner: body,
                calls: StreamCalls::default(),
                keeper: self,
                deciding: None,
                ended: None,
            })),
            // The model in this process calls no tools, and neither does the host.
            body => body,
        }
    }

    /// For each call, what the client reads instead; nothing for those that it gets.
    async fn decide(&self, calls: Vec<ToolCall>) -> Vec<Option<String>> {
        let mut denials = Vec::with_capacity(calls.len());
        for call in &calls {
            let decided = self.policy.gate(self.turn.clone(), call).await;
            if let Some(failure) = &decided.failure {
                let agent = &self.agent.id;
                tracing::warn!(%agent, hook = Hook::Gate.as_str(), %failure, "the agent's policy failed");
                self.metrics.count_failure(agent, Hook::Gate, failure);
            }
            let (verdict, denial) = match decided.value {
                Permission::Allow => ("allowed", None),
                Permission::Deny(words) => ("denied", Some(words)),
                Permission::Hold(reason) if self.is_approved(call, &reason).await => ("approved", None),
                Permission::Hold(reason) => {
                    let words = format!("The call of `{}` was not allowed: {reason}", call.name);
                    ("held_back", Some(words))
                }
            };
            let labels = ToolCallLabels { agent: self.agent.id.to_string(), verdict };
            self.metrics.tool_calls.get_or_create(&labels).inc();
            denials.push(denial);
        }
        self.agent.values.hand_over(&self.store, &self.agent.id).await;
        denials
    }

    async fn is_approved(&self, call: &ToolCall, reason: &str) -> bool {
        let limit = self.agent.config.policy.limits.hold;
        self.held.wait(&self.agent.id, &self.session, call, reason, limit).await
    }
}

impl Gated {
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        loop {
            if let Some(deciding) = &mut self.deciding {
                let denials = std::task::ready!(deciding.as_mut().poll(cx));
                self.deciding = None;
                return Poll::Ready(Some(Ok(self.calls.release(&denials))));
            }
            if self.calls.is_due() {
                let (keeper, due) = (self.keeper.clone(), self.calls.due());
                self.deciding = Some(Box::pin(async move { keeper.decide(due).await }));
                continue;
            }
            if let Some(error) = &mut self.ended {
                return Poll::Ready(error.take().map(Err));
            }
            match std::task::ready!(self.inner.poll_data(cx)) {
                Some(Ok(data)) => {
                    let out = self.calls.push(&data);
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(out)));
                    }
                }
                // Calls of an answer that broke off go nowhere.
                Some(Err(error)) => self.ended = Some(Some(error)),
                None => {
                    self.calls.finish();
                    self.ended = Some(None);
                }
            }
        }
    }

    /// Whether all of the answer has been given.
    pub(crate) fn is_done(&self) -> bool {
        self.inner.is_done() && self.deciding.is_none() && !self.calls.is_due()
    }
}
