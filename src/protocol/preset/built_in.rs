//! The presets that are compiled in.

use std::collections::BTreeMap;

use crate::model::document::Problem;

use super::Preset;

/// Their files, by name.
const FILES: [(&str, &str); 7] = [
    ("acp", include_str!("../../../conf/presets/acp.toml")),
    ("medusa", include_str!("../../../conf/presets/medusa.toml")),
    ("oneshot-form", include_str!("../../../conf/presets/oneshot-form.toml")),
    ("oneshot-json", include_str!("../../../conf/presets/oneshot-json.toml")),
    ("ucp", include_str!("../../../conf/presets/ucp.toml")),
    ("vendure", include_str!("../../../conf/presets/vendure.toml")),
    ("woocommerce", include_str!("../../../conf/presets/woocommerce.toml")),
];

/// The files of the presets that are compiled in, by name.
#[must_use]
pub fn texts() -> BTreeMap<&'static str, &'static str> {
    FILES.into_iter().collect()
}

/// The presets that are compiled in, by name.
pub fn built_in() -> Result<BTreeMap<String, Preset>, Vec<Problem>> {
    FILES.iter().map(|(name, text)| Preset::parse(text).map(|preset| ((*name).to_owned(), preset))).collect()
}
