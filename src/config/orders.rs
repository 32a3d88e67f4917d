//! `[[orders.webhooks]]`: which stores tell of their orders, and how they are known.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::document::At;
use crate::model::ids::StoreId;
use crate::protocol::webhook::{Naming, Platform};

use super::words::Found;

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OrdersDoc {
    webhooks: Vec<HookDoc>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct HookDoc {
    store: At<String>,
    /// `shopify`, `woocommerce`, `acp`, `ucp` or `generic`.
    platform: At<String>,
    /// File that holds the secret of the webhook. Read at each delivery.
    secret_file: At<String>,
    /// How the platform's id of a variant is named in tokens; default `{id}`.
    variant: Option<At<String>>,
}

/// How one store tells of its orders.
#[derive(Debug)]
pub struct HookConfig {
    pub store: StoreId,
    pub platform: Platform,
    pub secret_file: PathBuf,
    pub naming: Naming,
}

impl OrdersDoc {
    pub(super) fn compile(self, base: &Path, found: Found<'_>) -> Vec<HookConfig> {
        let mut hooks: Vec<HookConfig> = Vec::new();
        for doc in &self.webhooks {
            let Some(hook) = doc.compile(base, found) else { continue };
            if hooks.iter().any(|earlier| (&earlier.store, earlier.platform) == (&hook.store, hook.platform)) {
                let message = format!("store `{}` has two webhooks of `{}`", hook.store, hook.platform.as_str());
                found.push(doc.platform.problem(message, "keep one"));
            }
            hooks.push(hook);
        }
        hooks
    }
}

impl HookDoc {
    fn compile(&self, base: &Path, found: Found<'_>) -> Option<HookConfig> {
        let store = StoreId::parse(&self.store);
        if let Err(why) = &store {
            found.push(self.store.problem(format!("`store` {why}"), "write the store's id"));
        }
        let platform = Platform::parse(&self.platform);
        if platform.is_none() {
            let fix = format!("use one of: {}", Platform::ALL.map(Platform::as_str).join(", "));
            found.push(self.platform.problem(format!("there is no platform `{}`", *self.platform), fix));
        }
        if self.secret_file.is_empty() {
            let message = "a webhook without a secret could be anybody's";
            found.push(self.secret_file.problem(message, "add `secret_file = \"shop.secret\"`"));
        }
        let naming = self.variant.as_ref().map(|variant| (variant, Naming::parse(variant)));
        if let Some((variant, None)) = &naming {
            let message = format!("`{}` does not say where the id stands", ***variant);
            found.push(variant.problem(message, "write `{id}` in it, once"));
        }
        let naming = naming.map_or_else(|| Some(Naming::default()), |(_, naming)| naming);
        let secret_file = base.join(self.secret_file.as_str());
        Some(HookConfig { store: store.ok()?, platform: platform?, secret_file, naming: naming? })
    }
}
