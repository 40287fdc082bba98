//! The usual names of splits: what folders and files are called that hold them.

/// What a name says that a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Train,
    /// Of two, the one with the lower number is measured on.
    Test(usize),
    Unlabeled,
}

/// Words for the training split.
pub(crate) const TRAIN: &[&str] = &["train", "training"];
/// Words for the split that accuracy is measured on: a set for validation goes before one for tests.
pub(crate) const TEST: [&[&str]; 2] =
    [&["val", "valid", "validation", "dev", "eval", "evaluation"], &["test", "testing"]];
/// Words for pictures without labels. Not `unknown` or `extra`: as often they are a class, or labeled.
const UNLABELED: &[&str] = &["unlabeled", "unlabelled", "unannotated", "unsupervised", "unsup", "nolabel", "nolabels"];
/// Words that say nothing beside one of those.
const FILLERS: &[&str] = &[
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "set", "sets", "data", "dataset",
    "split", "folder", "samples", "jpg", "jpeg", "png", "resized",
];

/// What a folder of this name holds, whatever the case: `Training`, `train_images`, `valid`, `TestSet`, `val2017`.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    let name = name.to_lowercase();
    let parts: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    // `train2017` and `trainset` are one word each.
    let plain = |part: &str| -> String {
        let part = part.trim_end_matches(|c: char| c.is_ascii_digit());
        ["sets", "set", "images", "imgs", "data"].iter().find_map(|end| part.strip_suffix(end)).unwrap_or(part).into()
    };
    let words: Vec<String> = parts.iter().map(|part| plain(part)).collect();
    let among = |list: &[&str], word: &String| list.contains(&word.as_str());
    let all = |list: &[&str]| words.iter().all(|word| word.is_empty() || among(list, word) || among(FILLERS, word));
    let any = |list: &[&str]| words.iter().any(|word| among(list, word));
    if words.len() == 2 && words[0] == "no" && ["label", "labels"].contains(&words[1].as_str()) {
        return Some(Kind::Unlabeled);
    }
    if any(UNLABELED) {
        // `train_unlabeled` holds no labeled ones, either.
        let rest: Vec<&str> = UNLABELED.iter().chain(TRAIN).copied().collect();
        return all(&rest).then_some(Kind::Unlabeled);
    }
    if any(TRAIN) {
        return all(TRAIN).then_some(Kind::Train);
    }
    let rank = TEST.iter().position(|list| any(list))?;
    all(TEST[rank]).then_some(Kind::Test(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_go_by_many_names() {
        let names = "train Train TRAINING training_set train_images images-train trainset TrainSet train2017 train_256 \
            Training-Data trainimages train.resized";
        for name in names.split_whitespace() {
            assert_eq!(kind(name), Some(Kind::Train), "{name}");
        }
        for (rank, names) in [
            "val Val valid Validation validation_set val2017 dev Eval evaluation",
            "test Testing TEST test_images testset",
        ]
        .into_iter()
        .enumerate()
        {
            for name in names.split_whitespace() {
                assert_eq!(kind(name), Some(Kind::Test(rank)), "{name}");
            }
        }
        for name in
            "unlabeled Unlabelled unlabeled2017 unlabeled_images train_unlabeled unsup no_label NoLabels no-labels"
                .split_whitespace()
        {
            assert_eq!(kind(name), Some(Kind::Unlabeled), "{name}");
        }
    }

    #[test]
    fn classes_are_no_splits() {
        let names = "cat trainer restrain steam-train test_tube valley 2 images data set unknown extra evaluator no labels \
            protest contest n01440764 train_car train_labels test_masks";
        for name in names.split_whitespace() {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
