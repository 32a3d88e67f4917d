use super::*;
use crate::protocol::media::{Coding, Media};

const JSON: Media = Media { form: Some(Form::Json), untyped: false, coding: Some(Coding::Identity) };

fn phase(preset: &Preset, method: &str, path: &str) -> Option<Phase> {
    match preset.recognise(method, path, JSON, false) {
        Recognised::Step(phase, _) => Some(phase),
        _ => None,
    }
}

#[test]
fn the_built_in_presets_are_good_and_named_like_their_files() {
    let presets = built_in().unwrap();
    for (name, preset) in &presets {
        assert_eq!(*name, preset.name);
        assert!(!preset.title.is_empty(), "{name}");
    }
    let ucp = &presets["ucp"];
    let Recognised::Step(Phase::Complete, found) =
        ucp.recognise("POST", "/checkout-sessions/cs_1/complete", JSON, false)
    else {
        panic!("a commit is not recognised")
    };
    assert_eq!(found.session, Some("cs_1"));
    assert_eq!(phase(ucp, "PUT", "/checkout-sessions/cs_1"), Some(Phase::Update));
    assert_eq!(phase(ucp, "DELETE", "/checkout-sessions/cs_1"), None);
    assert_eq!(phase(&presets["oneshot-json"], "POST", ""), Some(Phase::Complete));
}

#[test]
fn what_is_not_written_as_the_protocol_has_it_is_unknown_unless_it_commits() {
    let presets = built_in().unwrap();
    let ucp = &presets["ucp"];
    let odd = Media { form: None, ..JSON };
    let coded = Media { coding: None, ..JSON };
    for media in [odd, coded] {
        assert_eq!(ucp.recognise("POST", "/checkout-sessions", media, false), Recognised::Unknown);
        let commit = ucp.recognise("POST", "/checkout-sessions/a/complete", media, false);
        assert!(matches!(commit, Recognised::Step(Phase::Complete, _)));
    }
    assert!(matches!(ucp.recognise("GET", "/checkout-sessions/a", odd, true), Recognised::Step(Phase::Get, _)));
    assert_eq!(ucp.recognise("HEAD", "/checkout-sessions/a", odd, true), Recognised::Harmless);
    assert_eq!(ucp.recognise("GET", "/orders/1", JSON, true), Recognised::Harmless);
    assert_eq!(ucp.recognise("GET", "/orders", JSON, true), Recognised::Unknown);
}

#[test]
fn a_bad_preset_says_everything_that_is_wrong() {
    let text = "name = \"x\"\nfacts = \"session\"\nvariant = \"v\"\n[phases]\ncomplete = [\"post /x\"]\n\
                [lines]\nitems = \"/i\"\nvariant = \"/v\"\nquantity = \"/q\"\nprice = \"/p\"\n";
    let problems = Preset::parse(text).unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:?}");
    let text = "name = \"x\"\n[phases]\ncomplete = [\"POST /\"]\n[lines]\nitems = \"i\"\nvariant = \"/v\"\n";
    let problems = Preset::parse(text).unwrap_err();
    assert!(problems[0].message.contains("a JSON Pointer"), "{problems:?}");
}

#[test]
fn a_session_needs_a_name_and_its_read_carries_no_proof_of_another_request() {
    let with = |session: &str| {
        let text = format!(
            "name = \"x\"\nfacts = \"session\"\n[phases]\ncomplete = [\"POST /c\"]\n[session]\n{session}\n\
             [lines]\nitems = \"/i\"\nvariant = \"/v\"\nquantity = \"/q\"\n"
        );
        Preset::parse(&text).map_err(|problems| problems[0].message.clone())
    };
    assert!(with("read = \"GET /cart\"\nkey = [\"cookie:session\"]").is_ok());
    assert_eq!(with("read = \"GET /cart\"").unwrap_err(), "nothing names the session");
    assert!(with("read = \"GET /cart\"\nkey = [\"session\"]").unwrap_err().contains("names no place"));
    for never in ["Signature", "Idempotency-Key", "Permyx-Execution-Token"] {
        let told = with(&format!("read = \"GET /c/{{session}}\"\ncredentials = [\"{never}\"]")).unwrap_err();
        assert!(told.contains("never goes along"), "{told}");
    }
}

#[test]
fn a_parameter_that_leads_elsewhere_is_noticed_in_every_spelling() {
    let text = "name = \"x\"\n[phases]\ncomplete = [\"POST /\"]\n[path]\nrerouting = [\"rest_route\"]\n\
                [lines]\nitems = \"/i\"\nvariant = \"/v\"\nquantity = \"/q\"\n";
    let preset = Preset::parse(text).unwrap();
    for query in [
        "rest_route=/x",
        "a=1&rest%5froute=x",
        "rest.route=x",
        "rest+route",
        "rest_route[]=x",
        "a;%20Rest_Route=x",
        "rest[route=x",
        "rest%5Broute=x",
        "rest_route%00x=x",
    ] {
        assert_eq!(preset.reroutes(query), Some("rest_route"), "{query}");
    }
    for query in ["", "a=rest_route", "rest_routes=x", "rest%zzroute=1"] {
        assert_eq!(preset.reroutes(query), None, "{query}");
    }
}

#[test]
fn a_route_changes_what_it_names_and_keeps_the_rest() {
    let ucp = texts()["ucp"];
    let changes = "tokenless = \"observe\"\nvariant = \"ucp:{id}\"\n[path]\nignores_case = true\n[lines]\nvariant = \"/item/sku\"\n";
    let changed = Preset::parse_with(ucp, &changes.parse().unwrap()).unwrap();
    assert_eq!((changed.tokenless, changed.variant_of("1").as_str()), (Tokenless::Observe, "ucp:1"));
    assert_eq!(phase(&changed, "POST", "/Checkout-Sessions/a/COMPLETE"), Some(Phase::Complete));
    assert!(changed.session.is_some());
    let wrong = Preset::parse_with(ucp, &"tokenles = 1".parse().unwrap()).unwrap_err();
    assert!(wrong[0].message.contains("tokenles"), "{wrong:?}");
}
