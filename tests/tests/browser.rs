//! The pages of studies in a real browser, without a window: nothing is fetched, nothing is wider than the screen, no error.
//!
//! `SIMCLR_SCREENSHOTS=DIR` keeps the pages and pictures of them there, to be looked at.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Value, json};
use simclr_study::page;
use simclr_study::testing::{STUDIES, look, outcome};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A phone and a desk, in CSS pixels.
const WIDTHS: [usize; 2] = [390, 1280];
/// Longest that the browser may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tells the page around it how wide the page is that it ends up in, what sticks out, what was fetched, and whether texts can be
/// told from what they stand on.
const MEASURE: &str = r#"<script>
addEventListener("load", () => {
  const root = document.documentElement, wide = [], pale = [];
  const inside = e => e.closest(".scroll, svg");
  for (const e of document.body.querySelectorAll("*")) {
    if (!inside(e) && e.getBoundingClientRect().right > root.clientWidth + 1) wide.push(e.tagName + "." + e.className);
  }
  const rgb = c => c.match(/[\d.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!c.startsWith("rgb")) return null;
      if ((rgb(c)[3] ?? 1) === 1) return c;
      if (rgb(c)[3] > 0) return null;
    }
    return getComputedStyle(root).colorScheme === "dark" ? "rgb(0,0,0)" : "rgb(255,255,255)";
  };
  for (const e of document.body.querySelectorAll("p, th, td, li, a, h1, h2, h3, caption, dt, dd, summary, text, .verdict, .mark")) {
    const style = getComputedStyle(e), on = ground(e.closest("svg") ?? e);
    const ink = e.tagName === "text" ? style.fill : style.color;
    if (!on || !ink.startsWith("rgb")) continue;
    const [a, b] = [light(ink), light(on)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) pale.push(e.tagName + "." + (e.getAttribute("class") ?? "") + " " + ink + " on " + on);
  }
  const fetched = performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"));
  const nameless = document.querySelectorAll("img:not([alt]), svg:not([aria-label]):not([aria-hidden])").length;
  const told = { shown: innerWidth, width: root.scrollWidth, wide: wide.slice(0, 5), pale: [...new Set(pale)].slice(0, 5), fetched, nameless };
  parent.postMessage(told, "*");
});
</script>"#;

/// A page that does everything wrong, so that it is known that the browser tells.
const WRONG: &str = "<!doctype html><html lang=\"en\"><body style=\"background:#fff\"><p style=\"width:3000px;color:#ddd\">wide</p>\
                     <img src=\"http://127.0.0.1:9/picture.png\"><script>console.error('wrong on purpose')</script></body></html>";

#[test]
fn pages_stand_alone_and_fit_a_phone() {
    let Some(browser) = browser() else {
        simclr_tests::skipped("pages_stand_alone_and_fit_a_phone", "there is no chromium in the PATH");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut pages = pages();
    keep(&browser, &pages);
    let (mut frames, mut expected) = (String::new(), Vec::new());
    // Once more as they are in the dark.
    let dark = |(name, html): &(String, String)| {
        (format!("dark-{name}"), html.replace("@media (prefers-color-scheme: dark)", "@media all"))
    };
    pages.extend(pages.iter().map(dark).collect::<Vec<_>>());
    pages.push(("wrong.html".into(), WRONG.into()));
    for (name, html) in &pages {
        std::fs::write(dir.path().join(name), html.replace("</body>", &format!("{MEASURE}</body>"))).unwrap();
        for width in WIDTHS {
            let _ = write!(
                frames,
                "<iframe name=\"{name} {width}\" src=\"{name}\" width={width} height=800 frameborder=0></iframe>"
            );
            expected.push(format!("{name} {width}"));
        }
    }
    // One browser looks at all of them: what each frame tells is kept as text of the page around it.
    let around = format!(
        "<!doctype html><meta charset=\"utf-8\"><pre id=told></pre><script>\
         const told = {{}}; addEventListener('message', e => {{ \
         const frame = [...document.querySelectorAll('iframe')].find(f => f.contentWindow === e.source);\
         told[frame.name] = e.data; document.getElementById('told').textContent = JSON.stringify(told); }});</script>{frames}"
    );
    std::fs::write(dir.path().join("around.html"), around).unwrap();
    let (dom, log) = run(
        &browser,
        dir.path(),
        &["--dump-dom", "--virtual-time-budget=20000", &url(&dir.path().join("around.html"))],
    );
    let text = dom.split("id=\"told\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or("");
    let text = text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{log}"));

    for name in &expected {
        let of = &told[name];
        assert!(of.is_object(), "{name} told nothing; the browser said:\n{log}");
        let (shown, width) = (of["shown"].as_u64().unwrap(), of["width"].as_u64().unwrap());
        if name.starts_with("wrong") {
            assert!(width > shown && of["wide"] != json!([]) && of["pale"] != json!([]), "{of}");
            assert_eq!((&of["fetched"], &of["nameless"]), (&json!(["http://127.0.0.1:9/picture.png"]), &json!(1)));
            continue;
        }
        assert!(width <= shown, "{name}: the page is {width} pixels wide on a screen of {shown}: {}", of["wide"]);
        assert_eq!(of["wide"], json!([]), "{name}: sticks out");
        assert_eq!(of["pale"], json!([]), "{name}: hard to read");
        assert_eq!(of["fetched"], json!([]), "{name}: fetched something");
        assert_eq!(of["nameless"], json!(0), "{name}: pictures without a text in their place");
    }
    let said: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(said.iter().any(|line| line.contains("wrong on purpose")), "the browser's console is not heard:\n{log}");
    let others: Vec<_> =
        said.iter().filter(|line| !line.contains("wrong.html") && !line.contains("picture.png")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// Every study's page, some with a look at a network, and the index.
fn pages() -> Vec<(String, String)> {
    let outcomes: Vec<_> = STUDIES.iter().map(|study| outcome(study)).collect();
    let page = |(i, outcome): (usize, &simclr_study::Outcome)| {
        let looks = if i < 2 { vec![look()] } else { vec![] };
        (page::file(outcome), page::html(outcome, Path::new("no pool"), &looks).unwrap())
    };
    let mut pages: Vec<(String, String)> = outcomes.iter().enumerate().map(page).collect();
    pages.push(("index.html".into(), page::index(&outcomes).unwrap()));
    pages
}

/// Writes pages and pictures of them where somebody wants to look.
fn keep(browser: &Path, pages: &[(String, String)]) {
    let Some(dir) = std::env::var_os("SIMCLR_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    for (name, html) in pages {
        let path = dir.join(name);
        std::fs::write(&path, html).unwrap();
        for (width, height) in [(390, 9000), (1280, 6000)] {
            for (scheme, option) in [("light", "--disable-features=none"), ("dark", "--force-dark-mode")] {
                let picture = dir.join(format!("{name}-{width}-{scheme}.png"));
                let (size, to) =
                    (format!("--window-size={width},{height}"), format!("--screenshot={}", picture.display()));
                run(browser, &dir, &["--hide-scrollbars", option, &size, &to, &url(&path)]);
            }
        }
        let to = format!("--print-to-pdf={}", dir.join(format!("{name}.pdf")).display());
        run(browser, &dir, &["--no-pdf-header-footer", &to, &url(&path)]);
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// What the browser writes, and what it says on the way.
fn run(browser: &Path, dir: &Path, args: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let (out, err) = (dir.join("browser-out.txt"), dir.join("browser-err.txt"));
    // No sandbox: tests may run as root. What it would fetch for itself has no host to come from.
    let mut child = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(args)
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{} does not end: {}", browser.display(), std::fs::read_to_string(&err).unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let both = (text(&out), text(&err));
    [out, err].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    both
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|file| file.is_file())
}
