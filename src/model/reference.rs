//! What joins the calls of one purchase that have no token in common: the cart, the checkout and the
//! session that they name. Such a name can open a cart, so evidence holds its digest.

use super::ids::StoreId;
use super::intent::Sha256;

/// The digest of a cart's, checkout's or session's name in this store: SHA-256 of `storeId|name`.
#[must_use]
pub fn reference(store: &StoreId, name: &str) -> Sha256 {
    Sha256::of(format!("{store}|{name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_in_another_store_is_another_thing() {
        let [a, b] = ["a", "b"].map(|store| StoreId::parse(store).unwrap());
        assert_eq!(reference(&a, "cart 1"), reference(&a, "cart 1"));
        assert_ne!(reference(&a, "cart 1"), reference(&b, "cart 1"));
        assert!(!reference(&a, "cart 1").to_string().contains("cart"));
    }
}
