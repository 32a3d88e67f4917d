//! Whether a server may be burned in: what it says of itself, judged before it is asked anything.

use std::collections::HashMap;

use super::Durability;

/// Oldest server whose scripts say beforehand what they may not do.
const VERSION_MIN: (u32, u32) = (7, 0);
/// Largest difference between its clock and ours.
pub(super) const CLOCK_OFF_MAX_MS: i64 = 2000;

/// Which server this is, and which history of data it has. Either changes when it may have
/// forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    /// `run id|replication id`, as epochs record it.
    pub(super) mark: String,
}

/// What makes a server unsafe, and the fix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsafe(pub(super) String);

/// Judges the answer to `INFO`. `off_ms`: how far its clock is ahead of ours.
pub(super) fn vet(info: &str, durability: Durability, off_ms: i64) -> Result<Server, Unsafe> {
    let facts: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name: &str| facts.get(name).copied().unwrap_or_default();
    let refuse = |why: String| Err(Unsafe(why));
    let version = fact("redis_version");
    if !at_least(version, VERSION_MIN) {
        return refuse(format!("it is version {version}; use Redis 7.0 or Valkey 7.2, or later"));
    }
    if fact("loading") != "0" {
        return refuse("it is still loading its data; wait".to_owned());
    }
    let role = fact("role");
    if role != "master" {
        return refuse(format!("it is a {role}; name the primary, or use topology = \"sentinel\""));
    }
    let policy = fact("maxmemory_policy");
    if policy != "noeviction" {
        return refuse(format!(
            "its maxmemory-policy is `{policy}`, which forgets burned tokens; set `maxmemory-policy noeviction`"
        ));
    }
    if durability.needs_log() && fact("aof_enabled") != "1" {
        return refuse("it keeps no append-only file; set `appendonly yes`, or durability = \"async\"".to_owned());
    }
    let in_step = |line: &&str| line.starts_with("slave") && line.contains("state=online");
    let replicas = u32::try_from(info.lines().filter(in_step).count()).unwrap_or(0);
    if let Durability::Replicas(wanted) = durability
        && replicas < wanted
    {
        return refuse(format!("{replicas} replicas are in step and {wanted} have to confirm; mend the others"));
    }
    if off_ms.abs() > CLOCK_OFF_MAX_MS {
        return refuse(format!("its clock is {off_ms} ms ahead of ours; set both clocks (NTP)"));
    }
    let (run, history) = (fact("run_id"), fact("master_replid"));
    if run.is_empty() || history.is_empty() {
        return refuse("INFO does not say which run of which server it is; allow INFO to this user".to_owned());
    }
    Ok(Server { mark: format!("{run}|{history}") })
}

fn at_least(version: &str, least: (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:aa\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                        # Persistence\r\nloading:0\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\n\
                        connected_slaves:2\r\nslave0:ip=::1,port=1,state=online,offset=9,lag=0\r\n\
                        slave1:ip=::1,port=2,state=wait_bgsave,offset=0,lag=0\r\nmaster_replid:bb\r\n";

    fn with(from: &str, to: &str) -> Result<Server, Unsafe> {
        vet(&GOOD.replace(from, to), Durability::Aof, 0)
    }

    #[test]
    fn a_good_server_is_known_by_its_run_and_history() {
        assert_eq!(with("", "").unwrap().mark, "aa|bb");
    }

    #[test]
    fn what_is_unsafe_is_told_with_its_fix() {
        for (from, to, fix) in [
            ("7.0.15", "6.2.14", "Redis 7.0"),
            ("loading:0", "loading:1", "wait"),
            ("role:master", "role:slave", "primary"),
            ("noeviction", "allkeys-lru", "maxmemory-policy noeviction"),
            ("aof_enabled:1", "aof_enabled:0", "appendonly yes"),
            ("run_id:aa", "run_id:", "allow INFO"),
        ] {
            let told = with(from, to).unwrap_err().0;
            assert!(told.contains(fix), "{told}");
        }
        assert!(vet(GOOD, Durability::Aof, -2001).unwrap_err().0.contains("NTP"));
        assert!(vet(GOOD, Durability::Replicas(2), 0).is_err());
        assert!(vet(GOOD, Durability::Replicas(1), 2000).is_ok());
        assert!(vet(&GOOD.replace("aof_enabled:1", "aof_enabled:0"), Durability::Async, 0).is_ok());
    }

    #[test]
    fn an_answer_that_says_nothing_is_unsafe() {
        for text in ["", "role", "redis_version:x.y", ":::::"] {
            assert!(vet(text, Durability::Async, 0).is_err());
        }
    }
}
