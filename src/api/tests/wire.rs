//! Defaults and bounds of the wire types.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn delivery_fills_in_defaults() {
    let delivery = Delivery::new(None, None, Some(5)).unwrap();
    assert_eq!(
        delivery,
        Delivery {
            stream: false,
            speed: 1.0,
            seed: 5
        }
    );
    assert!(Delivery::new(None, None, None).unwrap().seed > 0);
}

#[test]
fn texts_count_characters_not_bytes() {
    assert!(check_text("f", &"字".repeat(10), 10).is_ok());
    assert!(check_text("f", &"字".repeat(11), 10).is_err());
}

#[test]
fn names_may_hold_slashes() {
    assert!(check_voice_name("spk_name", "Anna / Berlin").is_ok());
    assert!(check_voice_name("spk_name", "a\tb").is_err());
}

proptest! {
    #[test]
    fn drawn_seeds_survive_a_round_trip_through_a_double(_ in 0..100u8) {
        let seed = draw_seed();
        prop_assert!(seed > 0);
        prop_assert_eq!(seed as f64 as u64, seed);
    }

    #[test]
    fn no_value_of_any_field_breaks_the_parser(text in ".*", seed in any::<f64>(), speed in any::<f64>()) {
        let value = json!({"tts_text": text, "spk_id": text, "seed": seed, "speed": speed, "stream": text});
        if let Ok(request) = serde_json::from_value::<SftRequest>(value)
            && let Ok(delivery) = Delivery::new(request.stream, request.speed, request.seed)
        {
            prop_assert!((0.5..=2.0).contains(&delivery.speed));
            prop_assert!(delivery.seed > 0);
        }
    }
}
