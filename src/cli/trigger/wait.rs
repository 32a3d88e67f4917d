//! What has to be waited for: a token that expires, and a person who breaks something.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Clock;
use crate::token::{LEEWAY_S, LIFETIME_MAX_S};

use super::super::error::CliError;

const SECOND: Duration = Duration::from_secs(1);

/// What a token says, taken at its word; null for a text that is no token.
pub(super) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    part.and_then(|part| serde_json::from_slice(&part).ok()).unwrap_or_default()
}

/// Seconds until nobody takes this token any more, and one to spare; 0 for a text that is no token. A token that
/// was issued just now is measured by the clock of who issued it.
pub(super) fn left(token: &str, clock: Option<&Clock>) -> i64 {
    let claims = claims(token);
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (Some(issued), Some(expires)) = (seconds("iat"), seconds("exp")) else { return 0 };
    let now = clock.map_or(issued, |clock| clock.now().seconds());
    let spare = LEEWAY_S + 1;
    expires.saturating_sub(now).saturating_add(spare).clamp(0, LIFETIME_MAX_S + spare)
}

/// Waits, and says so to whoever waits with it.
pub(super) async fn wait(seconds: i64) {
    let mut stderr = std::io::stderr();
    if seconds > 0 {
        // Nobody is harmed where it cannot be told.
        let _ = writeln!(stderr, "     waiting {seconds} s, until no clock takes the token any more");
    }
    let is_watched = stderr.is_terminal();
    for left in (1..=seconds).rev() {
        if is_watched {
            let _ = write!(stderr, "\r     {left:>3} s left ").and_then(|()| stderr.flush());
        }
        tokio::time::sleep(SECOND).await;
    }
    if is_watched && seconds > 0 {
        let _ = write!(stderr, "\r{:20}\r", "").and_then(|()| stderr.flush());
    }
}

/// Asks a person to do what no caller can, and waits until they say that it is done.
pub(super) async fn asks(person: &str) -> Result<(), CliError> {
    writeln!(std::io::stderr(), "     {person}\n     Then press Enter, before the token expires.")?;
    let answered = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    match answered.await.map_err(std::io::Error::other)?? {
        0 => Err(CliError::NobodyThere),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_waited_for_until_nobody_takes_it() {
        let fresh = token(r#"{"iat":1000,"exp":1120}"#);
        let at = |seconds| left(&fresh, Some(&Clock::manual(Timestamp::of_seconds(seconds))));
        // The clock of this machine may be wrong: what was issued just now was issued now.
        assert_eq!(left(&fresh, None), 126);
        assert_eq!((at(1000), at(1100), at(1125), at(1126), at(5000)), (126, 26, 1, 0, 0));
        // A clock that is far behind does not make it wait longer than a token can live.
        assert_eq!(at(0), 126);
        for none in ["", "a.b.c", "...", &token("[]"), &token(r#"{"exp":1}"#), &token(r#"{"iat":"1","exp":2}"#)] {
            assert_eq!(left(none, None), 0, "{none}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_time_is_waited() {
        let began = tokio::time::Instant::now();
        wait(126).await;
        assert_eq!(began.elapsed().as_secs(), 126);
        wait(0).await;
        assert_eq!(began.elapsed().as_secs(), 126);
    }
}
