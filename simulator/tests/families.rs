//! The families as files and as code are the same days: not one decision of our router differs.

use std::path::Path;

use stormproof_simulator::scenario::load;
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::study::{Policy, simulate};

#[test]
fn files_and_code_agree() {
    for family in FAMILIES {
        let path = format!("{}/../scenarios/family-{}.yaml", env!("CARGO_MANIFEST_DIR"), family.name);
        let scenario = load(Path::new(&path)).unwrap();
        let ours = scenario.contenders.iter().find(|contender| contender.name == "stormproof").unwrap();
        let case = family.case();
        let (file, _) = simulate(&scenario.case, &ours.policy, 1, &mut ());
        let (code, _) = simulate(&case, &Policy::Stormproof(case.settings.clone()), 1, &mut ());
        assert!(file == code, "family {}", family.name);
    }
}
