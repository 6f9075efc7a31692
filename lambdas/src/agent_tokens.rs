//! Single-use tokens: one is spent for one enrolment, and the agent's next one takes its place in the same write.
use crate::enrol::{refused, unavailable};
use jiff::SignedDuration;
use kiven_api::key_digest;
use kiven_model::enrolment::{AgentToken, AgentTokenUse, NEXT_TOKEN_DAYS, is_digest};
use kiven_model::{EnvironmentId, Problem};
use kiven_ports::{Clock, PortError, Ports, Records, Write};

/// Who is said to have made the tokens that agents make.
const AGENT: &str = "agent";

/// Spends a token. Of two who spend the same one, one is refused.
///
/// # Errors
/// When it is unknown, spent, revoked, expired or another environment's: all alike, so that nobody learns which.
pub(crate) async fn spend<P: Ports>(ports: &P, environment: &EnvironmentId, used: &AgentTokenUse) -> Result<(), Problem> {
    let worthless = || refused("the token is unknown, spent or expired").hint("Make a new one: `kiven environments agent-token`.");
    if !is_digest(&used.next_sha256) {
        return Err(refused("the next token's digest is none"));
    }
    let (now, sha256) = (ports.clock().now(), key_digest(&used.token));
    let known = ports.records().agent_token_get(environment, &sha256).await.map_err(unavailable)?;
    // Items that have expired may stay in the table for days.
    known.filter(|token| token.expires_at > now).ok_or_else(worthless)?;
    let next = AgentToken {
        sha256: used.next_sha256.clone(),
        environment_id: environment.clone(),
        created_by: AGENT.to_owned(),
        created_at: now,
        expires_at: now + SignedDuration::from_hours(24 * NEXT_TOKEN_DAYS),
    };
    let writes = vec![Write::AgentTokenGone { environment: environment.clone(), sha256 }, Write::AgentToken(Box::new(next))];
    match ports.records().records_commit(writes).await {
        Ok(()) => Ok(()),
        Err(PortError::Conflict(_)) => Err(worthless()),
        Err(error) => Err(unavailable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::enrolment::agent_token_text;
    use kiven_ports::contract;
    use kiven_sim::{Odds, World};

    fn token(seed: u8) -> String {
        agent_token_text([[seed; 16], [0; 16]])
    }

    async fn made(world: &World, environment: &EnvironmentId, seed: u8, minutes: i64) {
        let now = world.clock().now();
        let record = AgentToken {
            sha256: key_digest(&token(seed)),
            environment_id: environment.clone(),
            created_by: "key".to_owned(),
            created_at: now,
            expires_at: now + SignedDuration::from_mins(minutes),
        };
        world.records().records_commit(vec![Write::AgentToken(Box::new(record))]).await.unwrap();
    }

    async fn spent(world: &World, environment: &EnvironmentId, seed: u8, next: u8) -> Result<(), String> {
        let used = AgentTokenUse { token: token(seed), next_sha256: key_digest(&token(next)) };
        spend(world, environment, &used).await.map_err(|problem| problem.to_string())
    }

    #[tokio::test]
    async fn a_token_is_spent_once_and_hands_over_to_the_next() {
        let world = World::new(1, Odds::none());
        let (environment, other) = (contract::environment(1).id, contract::environment(2).id);
        made(&world, &environment, 1, 60).await;
        assert!(spent(&world, &other, 1, 2).await.unwrap_err().contains("unknown, spent or expired"), "another environment's");
        assert_eq!(spent(&world, &environment, 1, 2).await, Ok(()));
        assert!(spent(&world, &environment, 1, 3).await.is_err(), "once");
        assert!(spent(&world, &environment, 3, 4).await.is_err(), "what was refused has made nothing");
        assert_eq!(spent(&world, &environment, 2, 3).await, Ok(()));
        let used = AgentTokenUse { token: token(3), next_sha256: token(4) };
        assert!(spend(&world, &environment, &used).await.is_err(), "a token is no digest");
        assert_eq!(spent(&world, &environment, 3, 4).await, Ok(()), "and what is refused so is not spent");
    }

    #[tokio::test]
    async fn an_expired_token_is_worthless() {
        let world = World::new(1, Odds::none());
        let environment = contract::environment(1).id;
        made(&world, &environment, 1, 0).await;
        assert!(spent(&world, &environment, 1, 2).await.is_err());
    }
}
