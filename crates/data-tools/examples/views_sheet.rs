//! Writes a contact sheet of contrastive views: a row for each of some training images.
use simclr_core::config::Config;
use simclr_core::rng::{Purpose, Rng};
use simclr_data::ViewMaker;
use simclr_data_tools::sheet::contact_sheet;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let config = args.next().unwrap_or_else(|| "configs/quickstart.toml".into());
    let out = args.next().unwrap_or_else(|| "views.png".into());
    let config = Config::load(config.as_ref(), &[])?;
    let data = simclr_data::load(&config.data)?;
    let (size, channels) = (config.data.image_size, data.train.channels());
    let maker = ViewMaker::contrastive(&config.augment, size)?;
    let mut tiles = Vec::new();
    for sample in 0..10 {
        let picture = data.train.get(sample as usize)?;
        for view in 0..12 {
            let mut tile = vec![0.0; size * size * channels];
            let rng = Rng::stream(config.seed, Purpose::Contrastive, &[0, sample, view]);
            maker.view(picture.view(), &rng, &mut tile);
            tiles.push(tile);
        }
    }
    std::fs::write(&out, contact_sheet(&tiles, size, channels, 12, 2)?)?;
    Ok(())
}
