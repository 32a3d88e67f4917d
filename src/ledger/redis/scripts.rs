//! The scripts that the server runs, each in one step, and how they are called.

use std::sync::LazyLock;

use redis::Cmd;

use super::keys::Key;

/// Room for a call: most need no more.
const ARGUMENTS: usize = 32;
const BYTES: usize = 1024;

/// A script. Its text is sent once for each connection; after that its digest stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Script {
    Reserve,
    Settle,
    Abandon,
    Epoch,
    Usage,
}

impl Script {
    pub(super) const ALL: [Self; 5] = [Self::Reserve, Self::Settle, Self::Abandon, Self::Epoch, Self::Usage];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Reserve => include_str!("reserve.lua"),
            Self::Settle => include_str!("settle.lua"),
            Self::Abandon => include_str!("abandon.lua"),
            Self::Epoch => include_str!("epoch.lua"),
            Self::Usage => include_str!("usage.lua"),
        }
    }

    /// The name by which the server knows it: SHA-1 of its text, as `EVALSHA` asks.
    fn digest(self) -> &'static str {
        static DIGESTS: LazyLock<[String; 5]> = LazyLock::new(|| Script::ALL.map(|script| sha1(script.text())));
        DIGESTS.get(self as usize).map_or("", String::as_str)
    }

    /// A call with these keys; arguments are added behind them.
    pub(super) fn call<'k>(self, keys: impl Iterator<Item = Key<'k>> + Clone) -> Cmd {
        let mut command = Cmd::with_capacity(ARGUMENTS, BYTES);
        command.arg("EVALSHA").arg(self.digest()).arg(keys.clone().count());
        keys.for_each(|key| _ = command.arg(key));
        command
    }

    /// The same call with the text in place of its digest, for a server that forgot it.
    pub(super) fn teach(self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.text());
        command
    }
}

fn sha1(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_servers() {
        assert_eq!(sha1("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }

    /// Without its first line a server would not refuse it beforehand when it may not write.
    #[test]
    fn every_script_declares_itself() {
        assert!(Script::ALL.iter().all(|script| script.text().starts_with("#!lua\n")));
    }
}
