//! A zip of one program: the same bytes for the same program, whenever and wherever it is made.
use anyhow::Result;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

/// The first day that a zip can name, 1 January 1980: a zip without the time of its making.
const DOS_DATE: u16 = (1 << 5) | 1;
/// Version 2.0: deflate.
const VERSION: u16 = 20;
/// Made on Unix, by the same version.
const MADE_BY: u16 = (3 << 8) | VERSION;
const DEFLATED: u16 = 8;
/// A regular file that everybody may run.
const MODE: u32 = 0o100_755 << 16;

/// Packs a program under a name.
pub(crate) fn one_file(name: &str, program: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(program)?;
    let packed = encoder.finish()?;
    let mut crc = flate2::Crc::new();
    crc.update(program);
    let (size, packed_size, name_size) = (u32::try_from(program.len())?, u32::try_from(packed.len())?, u16::try_from(name.len())?);
    // What local header and directory entry have in common.
    let mut common = Vec::new();
    for number in [VERSION, 0, DEFLATED, 0, DOS_DATE] {
        common.extend(number.to_le_bytes());
    }
    for number in [crc.sum(), packed_size, size] {
        common.extend(number.to_le_bytes());
    }
    for number in [name_size, 0] {
        common.extend(number.to_le_bytes());
    }
    let mut zip = Vec::with_capacity(packed.len() + 256);
    zip.extend(b"PK\x03\x04");
    zip.extend(&common);
    zip.extend(name.as_bytes());
    zip.extend(&packed);
    let directory = u32::try_from(zip.len())?;
    zip.extend(b"PK\x01\x02");
    zip.extend(MADE_BY.to_le_bytes());
    zip.extend(&common);
    // Comment, disk, inner attributes; outer attributes; where the file begins.
    zip.extend([0; 6]);
    zip.extend(MODE.to_le_bytes());
    zip.extend(0_u32.to_le_bytes());
    zip.extend(name.as_bytes());
    let directory_size = u32::try_from(zip.len())? - directory;
    zip.extend(b"PK\x05\x06");
    for number in [0_u16, 0, 1, 1] {
        zip.extend(number.to_le_bytes());
    }
    zip.extend(directory_size.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend(0_u16.to_le_bytes());
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_zip_is_the_same_each_time_and_opens_as_a_program() {
        let program: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let zip = one_file("bootstrap", &program).unwrap();
        assert_eq!(zip, one_file("bootstrap", &program).unwrap());
        let path = std::env::temp_dir().join(format!("kiven-zip-{}.zip", std::process::id()));
        std::fs::write(&path, &zip).unwrap();
        let script = "import sys,zipfile,hashlib; z=zipfile.ZipFile(sys.argv[1]); i=z.infolist()[0]; assert z.testzip() is None; \
                      print(i.filename, oct(i.external_attr >> 16), i.date_time, len(z.read(i)))";
        let opened = Command::new("python3").args(["-c", script]).arg(&path).stdin(Stdio::null()).output();
        std::fs::remove_file(&path).unwrap();
        match opened {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "bootstrap 0o100755 (1980, 1, 1, 0, 0, 0) 800000", "{output:?}"),
            Err(_) => println!("skipped: zip: there is no python3 to open it with"),
        }
    }
}
