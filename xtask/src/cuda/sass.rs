//! What the kernels become for an H100: registers, spills, the width of loads and stores in the loops that pass over maps.

use super::toolkit::Toolkit;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The GPU whose machine code is looked at.
const ARCHITECTURE: &str = "sm_90";

/// What a kernel over maps promises of its loops over packs of 16 bytes.
struct Promise {
    kernel: &'static str,
    /// Packs that a turn of a loop takes.
    packs: usize,
    /// Maps that it reads and writes, of one element each; what is smaller, or beside them, is left out.
    maps: f64,
    /// Narrow loads and stores of a turn, for bytes beside a map.
    narrow: usize,
}

const fn promise(kernel: &'static str, packs: usize, maps: f64, narrow: usize) -> Promise {
    Promise { kernel, packs, maps, narrow }
}

/// The kernels for maps of f32 and bf16. `maps` are those of the loop that moves most.
const PROMISES: [Promise; 18] = [
    promise("moments_parts", 8, 1.0, 0),
    promise("norm_forward", 4, 3.0, 4),
    promise("norm_gradient_parts", 4, 3.0, 4),
    promise("norm_backward", 4, 3.0, 0),
    promise("max_pool", 1, 5.0, 1),
    promise("max_pool_gradient", 1, 1.25, 4),
    promise("avg_pool", 1, 5.0, 0),
    promise("avg_pool_gradient", 1, 1.25, 0),
    promise("pixel_mean", 4, 1.0, 0),
    promise("pixel_spread", 1, 1.0, 0),
    promise("gate_scale", 4, 2.0, 0),
    promise("gate_gradient", 4, 2.0, 0),
    promise("select_streams", 4, 3.0, 0),
    promise("select_gradient", 2, 5.0, 0),
    promise("add_relu", 2, 3.0, 2),
    promise("relu_mask", 2, 3.0, 2),
    promise("add_assign", 2, 3.0, 0),
    promise("scale_bytes", 2, 1.0, 2),
];
/// Bytes of a pack.
const PACK: usize = 16;

/// One kernel in machine code.
struct Kernel {
    name: String,
    registers: usize,
    /// Bytes of registers that did not fit, and of arrays that are not in registers.
    spilled: usize,
    instructions: Vec<String>,
    /// First and last instruction of each loop.
    loops: Vec<(usize, usize)>,
}

/// A row of the table.
pub struct Row {
    kernel: String,
    registers: usize,
    /// Of the largest loop over packs: its instructions, and those and the bytes of an element.
    per_element: Option<(usize, f64, f64)>,
}

/// Assembles the PTX of one source and looks at each of its kernels.
///
/// # Errors
/// When a kernel spills, divides 64-bit numbers in a loop, or has narrow loads or stores where it promises packs.
pub fn check(toolkit: &Toolkit, ptx: &str, name: &str, folder: &Path) -> Result<Vec<Row>> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let (source, binary) = (folder.join(name).with_extension("ptx"), folder.join(name).with_extension("cubin"));
    std::fs::write(&source, ptx).with_context(|| format!("writing {}", source.display()))?;
    let run = |tool: &str, arguments: &mut dyn FnMut(&mut Command)| -> Result<String> {
        let mut command = Command::new(toolkit.home().join("bin").join(tool));
        arguments(&mut command);
        let output = command.output().with_context(|| format!("starting {tool}"))?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{tool} fails on {}:\n{messages}", source.display());
        Ok(format!("{}{messages}", String::from_utf8_lossy(&output.stdout)))
    };
    let told = run("ptxas", &mut |c| {
        c.args([&format!("-arch={ARCHITECTURE}"), "-v", "-o"]).args([&binary, &source]);
    })?;
    let listing = run("nvdisasm", &mut |c| {
        c.arg("-c").arg(&binary);
    })?;
    let kernels = kernels(&told, &listing)?;
    ensure!(!kernels.is_empty(), "no kernel in the machine code of {}", source.display());
    kernels.iter().map(Kernel::row).collect()
}

/// Shows rows as a table for people.
pub fn print(rows: &[Row]) {
    say!("\n{:<28}{:>10}{:>12}{:>18}{:>16}", ARCHITECTURE, "registers", "loop", "instr./element", "bytes/element");
    for Row { kernel, registers, per_element } in rows {
        match per_element {
            Some((length, instructions, bytes)) => {
                say!("{kernel:<28}{registers:>10}{length:>12}{instructions:>18.1}{bytes:>16.1}")
            }
            None => say!("{kernel:<28}{registers:>10}"),
        }
    }
}

/// The kernels that the assembler told of, with their instructions from the listing.
fn kernels(told: &str, listing: &str) -> Result<Vec<Kernel>> {
    let (mut registers, mut spilled) = (HashMap::new(), HashMap::new());
    let mut current = "";
    for line in told.lines() {
        let number_before = |what: &str| -> usize {
            let text = line.split(what).next().unwrap_or_default().trim_end();
            text.rsplit([' ', ',']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            current = rest.split('\'').next().unwrap_or_default();
        } else if line.contains("bytes stack frame") {
            let all = ["bytes stack frame", "bytes spill stores", "bytes spill loads"].map(number_before);
            // Functions that kernels call are told of, too, by names of their own; theirs count for the kernel before.
            *spilled.entry(current).or_insert(0) += all.iter().sum::<usize>();
        } else if line.contains(" registers") {
            registers.insert(current, number_before(" registers"));
        }
    }
    let mut found = Vec::new();
    for section in listing.split("\n.text.").skip(1) {
        let Some((name, body)) = section.split_once(":\n") else { continue };
        let (Some(registers), Some(spilled)) = (registers.get(name), spilled.get(name)) else { continue };
        let (instructions, loops) = code(body);
        found.push(Kernel { name: name.into(), registers: *registers, spilled: *spilled, instructions, loops });
    }
    ensure!(found.len() == registers.len(), "{} kernels assembled, {} in the listing", registers.len(), found.len());
    Ok(found)
}

/// The instructions of a listing, and its loops: from the target of a jump backwards to the jump.
fn code(body: &str) -> (Vec<String>, Vec<(usize, usize)>) {
    let (mut instructions, mut labels, mut loops) = (Vec::<String>::new(), HashMap::new(), Vec::new());
    for line in body.lines() {
        let line = line.trim();
        if let Some(label) = line.strip_suffix(':').filter(|l| l.starts_with('.')) {
            labels.insert(label.to_string(), instructions.len());
        } else if let Some(text) = line.strip_prefix("/*").and_then(|l| l.split_once("*/")).map(|(_, text)| text.trim())
        {
            // A second comment holds bits alone.
            if let Some(text) = text.strip_suffix(';').or_else(|| text.split_once(';').map(|(text, _)| text)) {
                instructions.push(text.trim().to_string());
            }
        } else if line.starts_with(".section") {
            break;
        }
    }
    for (i, text) in instructions.iter().enumerate() {
        let target = text.contains("BRA").then(|| text.split_once("`(").and_then(|(_, t)| t.split_once(')'))).flatten();
        if let Some(first) = target.and_then(|(label, _)| labels.get(label)).filter(|first| **first < i) {
            loops.push((*first, i));
        }
    }
    (instructions, loops)
}

impl Kernel {
    fn row(&self) -> Result<Row> {
        let Self { name, registers, spilled, instructions, loops } = self;
        ensure!(*spilled == 0, "{name}: {spilled} bytes do not fit registers");
        let local = instructions.iter().find(|i| i.contains("LDL") || i.contains("STL"));
        ensure!(local.is_none(), "{name}: uses local memory: {}", local.map_or("", String::as_str));
        for (first, last) in loops {
            let slow = instructions[*first..=*last].iter().find(|i| i.contains("_s64") || i.contains("_u64"));
            ensure!(slow.is_none(), "{name}: divides 64-bit numbers in a loop: {}", slow.map_or("", String::as_str));
        }
        let element =
            [("_f32", 4), ("_bf16", 2)].into_iter().find_map(|(end, size)| Some((name.strip_suffix(end)?, size)));
        let promised = element.and_then(|(own, size)| Some((PROMISES.iter().find(|p| p.kernel == own)?, size)));
        let Some((promise, size)) = promised else {
            return Ok(Row { kernel: name.clone(), registers: *registers, per_element: None });
        };
        // The loops over packs that hold no other loop over packs.
        let wide = |(first, last): &(usize, usize)| {
            instructions[*first..=*last].iter().filter(|i| moves(i) && i.contains(".128")).count()
        };
        let packed: Vec<(usize, usize)> = loops.iter().copied().filter(|l| wide(l) > 0).collect();
        let inner = |l: &&(usize, usize)| !packed.iter().any(|o| o != *l && o.0 >= l.0 && o.1 <= l.1);
        let mut most: Option<usize> = None;
        for l in packed.iter().filter(inner) {
            let body = &instructions[l.0..=l.1];
            let narrow = body.iter().filter(|i| moves(i) && !i.contains(".128")).count();
            ensure!(
                narrow <= promise.narrow,
                "{name}: {narrow} loads and stores of a loop over packs are narrower than 16 bytes, of which {} may be",
                promise.narrow
            );
            most = most.max(Some(body.len()));
        }
        let most = most.with_context(|| format!("{name}: no loop over packs of 16 bytes"))?;
        let elements = (promise.packs * PACK / size) as f64;
        let per_element = Some((most, most as f64 / elements, promise.maps * size as f64));
        Ok(Row { kernel: name.clone(), registers: *registers, per_element })
    }
}

/// Whether an instruction reads or writes global memory.
fn moves(instruction: &str) -> bool {
    instruction.contains("LDG.") || instruction.contains("STG.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOLD: &str = "ptxas info    : Compiling entry function 'gate_scale_f32' for 'sm_90'\n\
        ptxas info    : Function properties for gate_scale_f32\n    \
        0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem\n";
    const LISTING: &str = "\t.headerflags\t@\"...\"\n\n//--------------------- .text.gate_scale_f32 ----\n\
        .text.gate_scale_f32:\n        /*0000*/                   MOV R1, R2 ;\n.L_x_1:\n\
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;\n        /*0020*/              @P0 CALL.X `(f) ;\n\
        /*0030*/                   STG.E.128 desc[UR4][R2.64], R4 ;\n        /*0040*/              @P0 BRA `(.L_x_1) ;\n\
        /*0050*/                   EXIT ;\n";

    fn rows(told: &str, listing: &str) -> Result<Vec<Row>> {
        kernels(told, listing)?.iter().map(Kernel::row).collect()
    }

    #[test]
    fn a_loop_over_packs_is_found() {
        let found = rows(TOLD, LISTING).unwrap();
        assert_eq!((found[0].kernel.as_str(), found[0].registers), ("gate_scale_f32", 40));
        assert_eq!(found[0].per_element, Some((4, 0.25, 8.0)));
    }

    #[test]
    fn what_a_kernel_must_not_do_is_said() {
        let spilled = TOLD.replace("0 bytes spill loads", "8 bytes spill loads");
        let narrow = LISTING.replace("LDG.E.128", "LDG.E.64");
        let division = LISTING.replace("`(f)", "`($__internal_0_$__cuda_sm20_div_s64)");
        let local = LISTING.replace("MOV R1, R2", "STL [R1], R2");
        let straight = LISTING.replace("@P0 BRA", "NOP");
        for (told, listing, what) in [
            (spilled.as_str(), LISTING, "do not fit registers"),
            (TOLD, narrow.as_str(), "narrower than 16 bytes"),
            (TOLD, division.as_str(), "divides 64-bit numbers"),
            (TOLD, local.as_str(), "local memory"),
            (TOLD, straight.as_str(), "no loop over packs"),
            (TOLD, "", "in the listing"),
        ] {
            let error = rows(told, listing).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(what), "{what}: {error}");
        }
    }
}
