//! Turns decoded pictures upright.

use image::metadata::Orientation;

/// Turns `[H, W, C]` bytes; gives the new height and width.
pub(super) fn upright(
    data: &mut Vec<u8>,
    (height, width): (usize, usize),
    channels: usize,
    orientation: Orientation,
) -> (usize, usize) {
    use Orientation::{
        FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270, Rotate270FlipH,
    };
    let (bottom, right) = (height - 1, width - 1);
    // Where the pixel at row and column of the upright picture is stored.
    let from: fn(usize, usize, (usize, usize)) -> (usize, usize) = match orientation {
        NoTransforms => return (height, width),
        FlipHorizontal => |y, x, (_, right)| (y, right - x),
        Rotate180 => |y, x, (bottom, right)| (bottom - y, right - x),
        FlipVertical => |y, x, (bottom, _)| (bottom - y, x),
        Rotate90FlipH => |y, x, _| (x, y),
        Rotate90 => |y, x, (bottom, _)| (bottom - x, y),
        Rotate270FlipH => |y, x, (bottom, right)| (bottom - x, right - y),
        Rotate270 => |y, x, (_, right)| (x, right - y),
    };
    let lies = matches!(orientation, Rotate90FlipH | Rotate90 | Rotate270FlipH | Rotate270);
    let (rows, columns) = if lies { (width, height) } else { (height, width) };
    let mut turned = Vec::with_capacity(data.len());
    for y in 0..rows {
        for x in 0..columns {
            let (row, column) = from(y, x, (bottom, right));
            turned.extend_from_slice(&data[(row * width + column) * channels..][..channels]);
        }
    }
    *data = turned;
    (rows, columns)
}
