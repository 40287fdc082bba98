//! Each convolution of a network on a GPU, by each engine that cuDNN proposes: what choosing among them gains.

use anyhow::{Context, Result};
use candle_core::DType;
use serde_json::json;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, device_name, say};
use simclr_core::config::{Dtype, ModelConfig};
use simclr_model::outline::Op;
use simclr_model::{ModelSpec, SimClr};
use simclr_ops::engine_times;
use simclr_ops::engines::EngineTime;

#[derive(clap::Args)]
pub struct Convs {
    /// Depth of the ResNet
    #[arg(long, default_value_t = 50)]
    depth: usize,
    /// Side of the views
    #[arg(long, default_value_t = 224, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: usize,
    /// Views at once
    #[arg(long, default_value_t = 256, value_parser = cli::size(&bounds::BATCH))]
    batch: usize,
    /// How feature maps are stored and multiplied
    #[arg(long, default_value = "bf16", value_enum)]
    dtype: Dtype,
    /// Which GPU: cuda or cuda:N
    #[arg(long, default_value = "cuda")]
    device: DeviceChoice,
    /// Engines that are measured for each product, of graphs and of the interface before them
    #[arg(long, default_value_t = 8, value_parser = cli::size(&bounds::COUNT))]
    engines: usize,
}

/// A convolution, and how often the network has it: sides of its maps, channels, kernel.
struct Shape {
    side: usize,
    out: usize,
    c: usize,
    o: usize,
    k: usize,
    first: bool,
    times: usize,
}

impl Shape {
    /// Floating-point operations of one product for `n` maps.
    fn operations(&self, n: usize) -> f64 {
        2.0 * (n * self.out * self.out * self.o * self.k * self.k * self.c) as f64
    }
}

/// Measures and prints: a line for each product of each convolution, and one of JSON last, whose sums are of a step.
///
/// # Errors
/// When there is no GPU, or its memory is short.
pub fn run(a: &Convs) -> Result<()> {
    let device = a.device.open()?;
    let dtype = match a.dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
    };
    say(format_args!(
        "{:>2} {:<28} {:<22} {:>9} {:>9} {:>9} {:>8}  fastest engine",
        "", "convolution", "product", "legacy ms", "graph ms", "best ms", "TFLOP/s"
    ));
    let mut sums = [0f64; 3];
    let mut lines = Vec::new();
    for shape in shapes(a)? {
        let Shape { side, out, c, o, k, first, times } = shape;
        let stride = side.div_ceil(out);
        let found = engine_times(&device, [a.batch, side, c, o, k, stride], dtype, a.engines)?;
        let name = format!("{side}x{side}x{c} to {o}, {k}x{k}/{stride}");
        for product in ["forward", "input gradient", "input gradient, added", "weight gradient"] {
            let of = |graph: Option<bool>| {
                found.iter().filter(move |e| e.product == product && graph.is_none_or(|graph| e.graph == graph))
            };
            let least = |a: &&EngineTime, b: &&EngineTime| a.ms.total_cmp(&b.ms);
            let Some(best) = of(None).min_by(least) else { continue };
            let first_of = |graph| of(Some(graph)).next().map(|e| f64::from(e.ms));
            let (legacy, graph, ms) = (first_of(false), first_of(true), f64::from(best.ms));
            // The image itself gets no gradient; one that is added is another engine's, of the same size.
            if !(first && product.starts_with("input")) && product != "input gradient, added" {
                for (sum, of_way) in sums.iter_mut().zip([legacy.or(graph), graph.or(legacy), Some(ms)]) {
                    *sum += times as f64 * of_way.unwrap_or(ms);
                }
            }
            let shown = |ms: Option<f64>| ms.map_or_else(|| "-".to_string(), |ms| format!("{ms:.3}"));
            let teraflops = shape.operations(a.batch) / ms / 1e9;
            say(format_args!(
                "{times:>2} {name:<28} {product:<22} {:>9} {:>9} {ms:>9.3} {teraflops:>8.1}  {}",
                shown(legacy),
                shown(graph),
                best.engine
            ));
            lines.push(json!({
                "convolution": name, "times": times, "product": product, "legacy_ms": legacy, "graph_ms": graph,
                "best_ms": ms, "tflop_per_s": teraflops, "engine": best.engine, "workspace": best.workspace,
            }));
        }
    }
    say(format_args!(
        "{}",
        json!({
            "bench": "convs", "device": device_name(&device), "mode": a.dtype, "depth": a.depth,
            "image_size": a.image_size, "batch": a.batch, "legacy_ms": sums[0], "graph_ms": sums[1], "best_ms": sums[2],
            "products": lines,
        })
    ));
    Ok(())
}

/// The different convolutions of the network, in its order.
fn shapes(a: &Convs) -> Result<Vec<Shape>> {
    let model = SimClr::blank(&ModelSpec::new(&ModelConfig::resnet(a.depth), 3, a.image_size, 0, 0))?;
    let outline = model.outline(a.image_size).context("the backbone does not say what its layers do")?;
    let mut shapes: Vec<Shape> = Vec::new();
    for op in outline.ops() {
        let Op::Conv { from, to, kernel, first } = op else { continue };
        let same =
            |s: &&mut Shape| (s.side, s.out, s.c, s.o, s.k) == (from.side, to.side, from.channels, to.channels, kernel);
        match shapes.iter_mut().find(same) {
            Some(shape) => shape.times += 1,
            None => shapes.push(Shape {
                side: from.side,
                out: to.side,
                c: from.channels,
                o: to.channels,
                k: kernel,
                first,
                times: 1,
            }),
        }
    }
    Ok(shapes)
}
