//! Files that are pictures, or hold some, and are not decoded: what to do with them.

/// What a file is that no format of the table begins like, and what to do with it.
pub(super) fn advice(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4) {
            Some(b"avif" | b"avis") => "an AVIF picture, which is not supported: convert it to JPEG or PNG",
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => {
                "a HEIC picture, which is not supported: convert it to JPEG or PNG"
            }
            _ => "a film, of which no picture is taken: save its pictures as files",
        },
        [0, 0, 0, 12, b'j', b'P', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => {
            "a JPEG 2000 picture, which is not supported: convert it to PNG"
        }
        [0, 0, 0, 12, b'J', b'X', b'L', ..] | [0xff, 0x0a, ..] => {
            "a JPEG XL picture, which is not supported: convert it to JPEG or PNG"
        }
        [b'P', b'K', 3, 4, ..] => "an archive (.zip, .npz): unpack it, and save arrays one a file by numpy.save",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document: save its pages as pictures",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop document: save it as PNG or TIFF",
        [b'<', ..] => "text, such as an error page or an SVG drawing: no picture of pixels",
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', b'h', ..] => {
            "a pointer of Git LFS, not the picture itself: fetch it by `git lfs pull`"
        }
        _ => return None,
    })
}
