//! Floor 4: what stores say about their variants: the price, and when it was last confirmed.
//!
//! One TOML file per store. Readers take a snapshot; a change makes a new one. A store without a
//! file has no catalog here, and then neither price nor variant is judged (README decision 18).

mod file;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::decide::Listing;
use crate::durable::{self, FileError, Readers};
use crate::model::document::Problems;
use crate::model::ids::{StoreId, VariantId};
use crate::model::intent::Sha256;
use crate::model::money::Price;
use crate::model::time::Timestamp;

/// Most variants of one store.
pub const VARIANTS_MAX: usize = 100_000;
/// Largest catalog file.
pub const FILE_MAX: u64 = 64 << 20;
/// Most stores that have a catalog.
pub const STORES_MAX: usize = 10_000;

/// One variant, as its store describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    pub id: VariantId,
    /// Unit price on the basis that the store declares.
    pub price: Price,
    /// When the store last confirmed the price.
    pub verified_at: Timestamp,
}

/// Why a catalog cannot be read or changed. The catalogs that were there stay.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read the directory `{}`", .path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Faulty(Faulty),
    #[error("more than {STORES_MAX} stores have a catalog")]
    TooManyStores,
    #[error("a catalog has at most {VARIANTS_MAX} variants")]
    TooManyVariants,
    #[error("the variant `{0}` stands twice")]
    VariantTwice(VariantId),
    #[error("there is no catalog directory to write to: set `catalog.dir`")]
    NoDirectory,
}

/// Every file that could not be taken, with everything that is wrong in it.
#[derive(Debug)]
pub struct Faulty(pub Vec<Problems>);

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problems) in self.0.iter().enumerate() {
            write!(f, "{}{problems}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// The variants of one store, and the file that they came from.
struct Shelf {
    file: PathBuf,
    hash: Sha256,
    variants: HashMap<VariantId, Listed>,
}

#[derive(Clone, Copy)]
struct Listed {
    price: Price,
    verified_at: Timestamp,
}

type Shelves = BTreeMap<StoreId, Arc<Shelf>>;

/// The catalogs of all stores.
pub struct Catalog {
    /// `None`: no store has a catalog and none can be given one.
    dir: Option<PathBuf>,
    shelves: ArcSwap<Shelves>,
    /// One change at a time; readers never wait for it.
    changing: Mutex<()>,
}

impl Catalog {
    /// No catalogs at all.
    #[must_use]
    pub fn none() -> Self {
        Self { dir: None, shelves: ArcSwap::default(), changing: Mutex::new(()) }
    }

    /// Reads the catalogs of a directory, which is made if need be.
    pub fn open(dir: &Path) -> Result<Self, CatalogError> {
        durable::make_dir(dir)?;
        let catalog = Self { dir: Some(dir.to_owned()), ..Self::none() };
        catalog.reload()?;
        Ok(catalog)
    }

    /// Reads the directory again: all files are taken, or none. Files that did not change are not
    /// parsed. True when something changed.
    pub fn reload(&self) -> Result<bool, CatalogError> {
        let Some(dir) = &self.dir else { return Ok(false) };
        let _changing = self.changing.lock();
        let old = self.shelves.load_full();
        let new = file::read_all(dir, &old)?;
        let same = new.len() == old.len() && new.values().zip(old.values()).all(|(new, old)| Arc::ptr_eq(new, old));
        if !same {
            self.shelves.store(Arc::new(new));
        }
        Ok(!same)
    }

    /// What the store says about this variant.
    #[must_use]
    pub fn listing(&self, store: &StoreId, variant: &VariantId) -> Listing {
        match self.shelves.load().get(store).map(|shelf| shelf.variants.get(variant)) {
            None => Listing::NoCatalog,
            Some(None) => Listing::NotListed,
            Some(Some(&Listed { price, verified_at })) => Listing::Listed { price, verified_at },
        }
    }

    #[must_use]
    pub fn has(&self, store: &StoreId) -> bool {
        self.shelves.load().contains_key(store)
    }

    /// The stores that have a catalog, each with the number of its variants.
    #[must_use]
    pub fn stores(&self) -> Vec<(StoreId, usize)> {
        self.shelves.load().iter().map(|(store, shelf)| (store.clone(), shelf.variants.len())).collect()
    }

    /// Replaces a store's catalog by exactly these variants. On return it is on the disk and in
    /// use. It writes the file that the store came from; comments in it are lost. Blocks the thread.
    pub fn put(&self, store: &StoreId, variants: &[Variant]) -> Result<(), CatalogError> {
        let dir = self.dir.as_ref().ok_or(CatalogError::NoDirectory)?;
        let listed = unique(variants)?;
        let text = file::render(store, variants);
        if text.len() as u64 > FILE_MAX {
            return Err(CatalogError::TooManyVariants);
        }
        let _changing = self.changing.lock();
        let mut shelves = Shelves::clone(&self.shelves.load());
        if !shelves.contains_key(store) && shelves.len() >= STORES_MAX {
            return Err(CatalogError::TooManyStores);
        }
        let file = shelves.get(store).map_or_else(|| file::new_path(dir, store), |shelf| shelf.file.clone());
        let lock = durable::lock(&dir.join(".lock"))?;
        durable::replace(&file, text.as_bytes(), Readers::Everyone, &lock)?;
        let shelf = Shelf { file, hash: Sha256::of(text.as_bytes()), variants: listed };
        shelves.insert(store.clone(), Arc::new(shelf));
        self.shelves.store(Arc::new(shelves));
        Ok(())
    }

    /// Takes every price as confirmed now, in memory alone: a demo's catalog must not turn stale.
    pub fn stamp_all(&self, now: Timestamp) {
        let _changing = self.changing.lock();
        let stamped = |shelf: &Arc<Shelf>| {
            let fresh = |(id, listed): (&VariantId, &Listed)| (id.clone(), Listed { verified_at: now, ..*listed });
            let variants = shelf.variants.iter().map(fresh).collect();
            Arc::new(Shelf { file: shelf.file.clone(), hash: shelf.hash, variants })
        };
        let shelves = self.shelves.load();
        self.shelves.store(Arc::new(shelves.iter().map(|(store, shelf)| (store.clone(), stamped(shelf))).collect()));
    }
}

/// The variants by id.
fn unique(variants: &[Variant]) -> Result<HashMap<VariantId, Listed>, CatalogError> {
    if variants.len() > VARIANTS_MAX {
        return Err(CatalogError::TooManyVariants);
    }
    let mut listed = HashMap::with_capacity(variants.len());
    for Variant { id, price, verified_at } in variants {
        let before = listed.insert(id.clone(), Listed { price: *price, verified_at: *verified_at });
        if before.is_some() {
            return Err(CatalogError::VariantTwice(id.clone()));
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests;
