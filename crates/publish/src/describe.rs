//! `config.json` as it is published: this project's keys, and timm's where timm has the network.

use serde_json::{Value as Json, json};
use simclr_core::config::Stem;
use simclr_model::ModelSpec;

/// Whether timm's `resnetDEPTH` has the same weights: a plain bottleneck ResNet of width 1 with the ImageNet stem. In
/// shallower networks our first block has a projection and timm's has none; timm has no names for other stems and widths.
pub fn timm_has(spec: &ModelSpec) -> bool {
    let m = &spec.model;
    m.layout().is_some_and(|layout| layout.bottleneck)
        && m.width == 1.0
        && m.sk_ratio == 0.0
        && m.se_ratio == 0.0
        && m.stem == Stem::Imagenet
}

/// The keys of `spec`, by which every stage builds the network, and those by which `timm.create_model` does.
pub fn describe(spec: &ModelSpec) -> Json {
    let mut json = spec.to_json();
    if !timm_has(spec) {
        return json;
    }
    // A classifier on a layer of the projection head is not one that timm could use.
    let classes = if spec.proj_selector == 0 { spec.classes } else { 0 };
    let input = [spec.in_channels, spec.image_size, spec.image_size];
    // The file holds the projection head, too, which timm must leave aside.
    let mut arguments = json!({"pretrained_strict": false});
    if spec.in_channels != 3 {
        arguments["in_chans"] = json!(spec.in_channels);
    }
    let zeros = vec![0.0; spec.in_channels];
    let ones = vec![1.0; spec.in_channels];
    let more = json!({
        "architecture": format!("resnet{}", spec.model.depth),
        "num_classes": classes,
        "num_features": 2048,
        "global_pool": "avg",
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "simclr",
            "custom_load": false,
            "input_size": input,
            "fixed_input_size": false,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            // Images in 0..1 go in as they are.
            "mean": zeros,
            "std": ones,
            "num_classes": classes,
            "pool_size": [spec.image_size.div_ceil(32), spec.image_size.div_ceil(32)],
            "first_conv": "conv1",
            "classifier": "fc"
        }
    });
    if let (Some(keys), Json::Object(more)) = (json.as_object_mut(), more) {
        keys.extend(more);
        if classes > 0 && !spec.class_names.is_empty() {
            keys.insert("label_names".into(), json!(spec.class_names));
        }
    }
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::config::ModelConfig;

    fn spec(keys: &str, image_size: usize, selector: i64) -> ModelSpec {
        let model: ModelConfig = serde_json::from_str(keys).unwrap();
        ModelSpec::new(&model, 3, image_size, 10, selector)
    }

    #[test]
    fn foreign_keys_do_not_change_the_network() {
        let spec = spec("{\"depth\": 50}", 64, 0);
        let json = describe(&spec);
        assert_eq!((json["architecture"].as_str(), json["num_classes"].as_u64()), (Some("resnet50"), Some(10)));
        assert_eq!(ModelSpec::from_json(&json, "config.json".as_ref()).unwrap(), spec);
    }

    #[test]
    fn names_of_classes_are_there_for_everybody() {
        let names: Vec<String> = (0..10).map(|class| format!("kind {class}")).collect();
        let named = describe(&spec("{\"depth\": 50}", 64, 0).named(&names));
        assert_eq!((&named["class_names"], &named["label_names"]), (&json!(names), &json!(names)));
        assert_eq!(ModelSpec::from_json(&named, "config.json".as_ref()).unwrap().class_names, names);
        let on_the_head = describe(&spec("{\"depth\": 50}", 64, 1).named(&names));
        assert_eq!(on_the_head.get("label_names"), None, "timm gets no classifier");
        assert_eq!(describe(&spec("{\"depth\": 50}", 64, 0)).get("class_names"), None);
    }

    #[test]
    fn timm_is_told_of_its_own_networks_alone() {
        for keys in ["{\"depth\": 18}", "{\"depth\": 50, \"width\": 2.0}", "{\"depth\": 50, \"sk_ratio\": 0.0625}"] {
            assert_eq!(describe(&spec(keys, 64, 0)).get("architecture"), None, "{keys}");
        }
        assert_eq!(describe(&spec("{\"depth\": 50}", 32, 0)).get("architecture"), None, "the small stem");
        let on_the_head = describe(&spec("{\"depth\": 101}", 64, 1));
        assert_eq!(on_the_head["num_classes"], 0, "its classifier reads the projection head");
    }
}
