//! Catalogs: what is put is what is read, and a bad file changes nothing.

use proptest::prelude::*;

use super::*;
use crate::model::money::Currency;

const NOW: Timestamp = Timestamp::of_millis(1_800_000_000_123);

fn store(id: &str) -> StoreId {
    StoreId::parse(id).unwrap()
}

fn id(text: &str) -> VariantId {
    VariantId::parse(text).unwrap()
}

fn variant(text: &str, price: &str) -> Variant {
    Variant { id: id(text), price: Price::parse_text(price).unwrap(), verified_at: NOW }
}

fn listed(price: &str, verified_at: Timestamp) -> Listing {
    Listing::Listed { price: Price::parse_text(price).unwrap(), verified_at }
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    let here = store("store-123");
    assert_eq!(catalog.listing(&here, &id("a")), Listing::NoCatalog);
    catalog.put(&here, &[variant("a", "29.99 USD"), variant("b", "5000 JPY")]).unwrap();
    for catalog in [&catalog, &Catalog::open(dir.path()).unwrap()] {
        assert_eq!(catalog.listing(&here, &id("a")), listed("29.99 USD", NOW));
        assert_eq!(catalog.listing(&here, &id("b")), listed("5000 JPY", NOW));
        assert_eq!(catalog.listing(&here, &id("c")), Listing::NotListed);
        assert_eq!(catalog.listing(&store("store-9"), &id("a")), Listing::NoCatalog);
        assert_eq!(catalog.stores(), [(here.clone(), 2)]);
    }
    catalog.put(&here, &[variant("b", "1 JPY")]).unwrap();
    assert_eq!(catalog.listing(&here, &id("a")), Listing::NotListed, "a put replaces the whole catalog");
    assert!(!Catalog::open(dir.path()).unwrap().reload().unwrap(), "nothing changed since");
}

#[test]
fn a_file_reads_with_times_in_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let text = "store = \"s\"\n[[variants]]\nid = \"a\"\nprice = \"1.00 EUR\"\nverified_at = 2027-01-15T08:00:00.123Z\n\
                [[variants]]\nid = \"b\"\nprice = \"1.00 EUR\"\nverified_at = \"2027-01-15T09:00:00.123+01:00\"\n";
    std::fs::write(dir.path().join("any-name.toml"), text).unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    assert_eq!(catalog.listing(&store("s"), &id("a")), listed("1.00 EUR", NOW));
    assert_eq!(catalog.listing(&store("s"), &id("b")), listed("1.00 EUR", NOW));
}

#[test]
fn every_problem_of_every_file_is_told_and_the_old_catalogs_stay() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    catalog.put(&store("good"), &[variant("a", "1.00 USD")]).unwrap();
    let text = "store = \"a|b\"\n[[variants]]\nid = \"x\"\nprice = \"1.001 USD\"\nverified_at = 2027-01-15\n\
                [[variants]]\nid = \"y\"\n[[variants]]\nid = \"x y\"\nprice = \"1.00 USD\"\nverified_at = 2027-01-15T08:00:00Z\n\
                colour = \"red\"\n";
    std::fs::write(dir.path().join("bad.toml"), text).unwrap();
    let again =
        "store = \"good\"\n[[variants]]\nid = \"a\"\nprice = \"2.00 USD\"\nverified_at = 2027-01-15T08:00:00Z\n";
    std::fs::write(dir.path().join("zz.toml"), again).unwrap();
    let told = catalog.reload().unwrap_err().to_string();
    for (line, problem) in [
        (1, "`store` may hold only"),
        (4, "`price` cannot be `1.001 USD`"),
        (5, "`verified_at` cannot be `2027-01-15`"),
        (7, "`price` cannot be ``"),
        (9, "`id` may hold only"),
        (12, "unknown field `colour`"),
    ] {
        assert!(told.contains(&format!("bad.toml:{line}: {problem}")), "{line} {problem}\n{told}");
    }
    assert!(told.contains("zz.toml: `good` has a catalog in"), "{told}");
    assert_eq!(catalog.listing(&store("good"), &id("a")), listed("1.00 USD", NOW));
}

#[test]
fn a_variant_stands_once() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    let twice = [variant("a", "1.00 USD"), variant("a", "1.00 USD")];
    assert!(matches!(catalog.put(&store("s"), &twice), Err(CatalogError::VariantTwice(_))));
    std::fs::write(dir.path().join("s.toml"), file::render(&store("s"), &twice)).unwrap();
    assert!(catalog.reload().unwrap_err().to_string().contains("the variant `a` stands twice"));
}

#[test]
fn a_catalog_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    let many: Vec<_> = (0..=VARIANTS_MAX).map(|n| variant(&n.to_string(), "1.00 USD")).collect();
    assert!(matches!(catalog.put(&store("s"), &many), Err(CatalogError::TooManyVariants)));
    assert!(matches!(Catalog::none().put(&store("s"), &[]), Err(CatalogError::NoDirectory)));
}

/// The id of a store comes from a key's enrolment, and may still look like a path.
#[test]
fn no_store_leads_out_of_the_directory_or_into_anothers_file() {
    let dir = tempfile::tempdir().unwrap();
    let taken = "store = \"other\"\n";
    std::fs::write(dir.path().join("mine.toml"), taken).unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    for odd in ["../../up", "/etc/x", "..", ".hidden", "a/b", "a:b", "mine"] {
        catalog.put(&store(odd), &[variant("a", "1.00 USD")]).unwrap();
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("mine.toml")).unwrap(), taken);
    let again = Catalog::open(dir.path()).unwrap();
    assert_eq!(again.stores().len(), 8);
    assert_eq!(again.stores(), catalog.stores());
}

#[test]
fn a_demo_stays_fresh_without_touching_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    catalog.put(&store("s"), &[variant("a", "1.00 USD")]).unwrap();
    let later = NOW.plus_seconds(24 * 3600);
    catalog.stamp_all(later);
    assert!(!catalog.reload().unwrap());
    assert_eq!(catalog.listing(&store("s"), &id("a")), listed("1.00 USD", later));
    assert_eq!(Catalog::open(dir.path()).unwrap().listing(&store("s"), &id("a")), listed("1.00 USD", NOW));
}

fn any_variant() -> impl Strategy<Value = Variant> {
    let price = (0..=Price::MINOR_MAX, prop::sample::select(vec!["USD", "JPY", "KWD"]));
    // From 1970 to the year 9999.
    ("[A-Za-z0-9._:/-]{1,40}", price, 0i64..253_402_300_800_000).prop_map(|(id, (minor, code), millis)| Variant {
        id: VariantId::parse(&id).unwrap(),
        price: Price::of_minor(minor, Currency::parse(code).unwrap()).unwrap(),
        verified_at: Timestamp::of_millis(millis),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever can be put reads back as the same catalog.
    #[test]
    fn a_written_catalog_reads_back(
        store_id in "[A-Za-z0-9._:/-]{1,128}", variants in prop::collection::vec(any_variant(), 0..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreId::parse(&store_id).unwrap();
        let put = Catalog::open(dir.path()).unwrap().put(&store, &variants);
        let twice = variants.iter().enumerate().any(|(n, a)| variants[..n].iter().any(|b| a.id == b.id));
        prop_assert_eq!(put.is_err(), twice);
        if !twice {
            let again = Catalog::open(dir.path()).unwrap();
            for variant in &variants {
                let expected = Listing::Listed { price: variant.price, verified_at: variant.verified_at };
                prop_assert_eq!(again.listing(&store, &variant.id), expected);
            }
        }
    }
}
