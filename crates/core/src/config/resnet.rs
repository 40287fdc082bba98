//! The ResNets that there are, by depth.

use anyhow::{Context, Result};

/// Channels of the stem at width 1.
pub const BASE_CHANNELS: usize = 64;

/// The residual blocks of a ResNet (He et al. 2016, table 1; depth 200: He et al. 2016b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Layers with weights, which is the network's name.
    pub depth: usize,
    /// Whether blocks are bottlenecks: 1x1, 3x3 and 1x1, the last four times as wide. Else they are 3x3 and 3x3.
    pub bottleneck: bool,
    /// Blocks of each group; the first block of each group but the first halves the map.
    pub blocks: [usize; 4],
}

const fn layout(depth: usize, bottleneck: bool, blocks: [usize; 4]) -> Layout {
    Layout { depth, bottleneck, blocks }
}

impl Layout {
    /// All of them, by rising depth.
    pub const ALL: [Self; 6] = [
        layout(18, false, [2, 2, 2, 2]),
        layout(34, false, [3, 4, 6, 3]),
        layout(50, true, [3, 4, 6, 3]),
        layout(101, true, [3, 4, 23, 3]),
        layout(152, true, [3, 8, 36, 3]),
        layout(200, true, [3, 24, 36, 3]),
    ];

    /// The one of depth `depth`, which stands at `key`.
    ///
    /// # Errors
    /// When there is none; the message lists those that there are.
    pub fn of(key: &str, depth: usize) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|layout| layout.depth == depth);
        found.with_context(|| format!("{key} = {depth}: {}", Self::known()))
    }

    /// Which depths there are, in words.
    pub fn known() -> String {
        let [others @ .., last] = Self::ALL.map(|layout| layout.depth.to_string());
        format!("must be {} or {last}", others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Layout;

    /// A network is called after its layers with weights: the stem, those of the blocks, the classifier.
    #[test]
    fn depths_count_layers() {
        for layout in Layout::ALL {
            let each = if layout.bottleneck { 3 } else { 2 };
            assert_eq!(layout.blocks.iter().sum::<usize>() * each + 2, layout.depth);
            assert_eq!(Layout::of("depth", layout.depth).unwrap(), layout);
        }
        let message = Layout::of("model.depth", 19).unwrap_err().to_string();
        assert_eq!(message, "model.depth = 19: must be 18, 34, 50, 101, 152 or 200");
    }
}
