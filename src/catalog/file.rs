//! A catalog file: `store`, and one `[[variants]]` table for each variant.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};

use crate::durable;
use crate::model::document::{self, At, Problem, Problems};
use crate::model::ids::{StoreId, VariantId};
use crate::model::intent::Sha256;
use crate::model::money::Price;
use crate::model::time::Timestamp;

use super::{CatalogError, FILE_MAX, Faulty, Listed, STORES_MAX, Shelf, Shelves, VARIANTS_MAX, Variant};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CatalogDoc {
    store: At<String>,
    variants: Vec<VariantDoc>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct VariantDoc {
    id: At<String>,
    price: At<String>,
    verified_at: At<Moment>,
}

/// A time, as a TOML date-time or as text.
#[derive(Default)]
struct Moment(String);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time like 2026-11-23T10:00:00Z")
            }

            fn visit_str<E>(self, text: &str) -> Result<Moment, E> {
                Ok(Moment(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
                let moment = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Moment(moment.to_string()))
            }
        }
        d.deserialize_any(Either)
    }
}

/// Reads all catalog files of a directory; those that did not change since `old` are kept as they
/// are. One file is in memory at a time.
pub(super) fn read_all(dir: &Path, old: &Shelves) -> Result<Shelves, CatalogError> {
    let known: HashMap<&Path, (&StoreId, &Arc<Shelf>)> =
        old.iter().map(|(store, shelf)| (shelf.file.as_path(), (store, shelf))).collect();
    let mut shelves = Shelves::new();
    let mut faulty = Vec::new();
    for path in paths(dir)? {
        // A file that was removed since the directory was read is not there: nothing to report.
        let Some(text) = durable::read(&path, FILE_MAX)? else { continue };
        let hash = Sha256::of(text.as_bytes());
        let taken = match known.get(path.as_path()).filter(|(_, shelf)| shelf.hash == hash) {
            Some((store, shelf)) => Ok(((*store).clone(), Arc::clone(shelf))),
            None => {
                parse(&text).map(|(store, variants)| (store, Arc::new(Shelf { file: path.clone(), hash, variants })))
            }
        };
        match taken.and_then(|(store, shelf)| place(&mut shelves, store, shelf)) {
            Ok(()) => {}
            Err(problems) => faulty.push(Problems::new(&path, &text, problems)),
        }
    }
    if faulty.is_empty() { Ok(shelves) } else { Err(CatalogError::Faulty(Faulty(faulty))) }
}

fn place(shelves: &mut Shelves, store: StoreId, shelf: Arc<Shelf>) -> Result<(), Vec<Problem>> {
    if let Some(other) = shelves.get(&store) {
        let message = format!("`{store}` has a catalog in `{}` already", other.file.display());
        return Err(vec![Problem::new(None, message, "keep one of the two files")]);
    }
    shelves.insert(store, shelf);
    Ok(())
}

/// The catalog files, in the order of their names. Hidden ones are scratch and locks.
fn paths(dir: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let failed = |source| CatalogError::Directory { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        if paths.len() == STORES_MAX {
            return Err(CatalogError::TooManyStores);
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

type Parsed = (StoreId, HashMap<VariantId, Listed>);

fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let (doc, mut found) = document::read::<CatalogDoc>(text);
    let store = StoreId::parse(&doc.store.value)
        .map_err(|why| found.push(doc.store.problem(format!("`store` {why}"), "add `store = \"…\"`")));
    if doc.variants.len() > VARIANTS_MAX {
        found.push(Problem::new(None, format!("more than {VARIANTS_MAX} variants"), "leave out what is not sold"));
    }
    let mut variants = HashMap::with_capacity(doc.variants.len());
    for variant in &doc.variants {
        let Some(Variant { id, price, verified_at }) = variant.compile(&mut found) else { continue };
        if variants.insert(id, Listed { price, verified_at }).is_some() {
            let message = format!("the variant `{}` stands twice", variant.id.value);
            found.push(variant.id.problem(message, "keep one of the two"));
        }
    }
    match store {
        Ok(store) if found.is_empty() => Ok((store, variants)),
        _ => Err(found),
    }
}

impl VariantDoc {
    fn compile(&self, found: &mut Vec<Problem>) -> Option<Variant> {
        let id = VariantId::parse(&self.id);
        if let Err(why) = id {
            found.push(self.problem(&self.id, format!("`id` {why}"), "write the variant's id"));
        }
        let price = Price::parse_text(&self.price);
        if price.is_none() {
            let message = format!("`price` cannot be `{}`", self.price.value);
            found.push(self.problem(&self.price, message, "write amount and currency, like \"29.99 USD\""));
        }
        let verified_at = Timestamp::parse(&self.verified_at.0);
        if verified_at.is_none() {
            let message = format!("`verified_at` cannot be `{}`", self.verified_at.0);
            let fix = "write when the price was confirmed, like 2026-11-23T10:00:00Z";
            found.push(self.problem(&self.verified_at, message, fix));
        }
        Some(Variant { id: id.ok()?, price: price?, verified_at: verified_at? })
    }

    /// Points at the member, or at the variant's id when the member is left out.
    fn problem<T>(&self, member: &At<T>, message: String, fix: &str) -> Problem {
        Problem::new(Some(member.offset.max(self.id.offset)), message, fix)
    }
}

/// The text of a catalog file. Ids, prices and times hold nothing that needs escaping.
pub(super) fn render(store: &StoreId, variants: &[Variant]) -> String {
    let mut text = format!(
        "# Written by PUT /v1/catalog/{{store}}/variants; the next one replaces all of it.\nstore = \"{store}\"\n"
    );
    for Variant { id, price, verified_at } in variants {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[variants]]\nid          = \"{id}\"\nprice       = \"{price}\"\nverified_at = {verified_at}\n"
        );
    }
    text
}

/// Where a store's first catalog goes. An id may hold `/` and `..`, so only a plain one becomes a
/// name, and only while nobody's file has it; else the name is made of the id's hash.
pub(super) fn new_path(dir: &Path, store: &StoreId) -> PathBuf {
    let plain = store.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let named = dir.join(format!("{store}.toml"));
    if plain && !named.exists() {
        return named;
    }
    let hash = Sha256::of(store.as_str().as_bytes()).hex();
    dir.join(format!("store-{}.toml", hash.get(..16).unwrap_or(&hash)))
}
