//! Bundles taken apart and put together again, with or without the key: the workshop of a forger.

use permyx::model::intent::Sha256;
use permyx::tlog::key::Signer;
use permyx::tlog::note::Note;

/// The files of a bundle, in their order.
pub struct Pmx(pub Vec<(String, Vec<u8>)>);

impl Pmx {
    pub fn open(bytes: &[u8]) -> Self {
        let (mut files, mut at) = (Vec::new(), 0);
        while bytes[at..at + 4] == *b"PK\x03\x04" {
            let size = u32::from_le_bytes(bytes[at + 18..at + 22].try_into().unwrap()) as usize;
            let name = u16::from_le_bytes(bytes[at + 26..at + 28].try_into().unwrap()) as usize;
            let content = at + 30 + name;
            let name = String::from_utf8(bytes[at + 30..content].to_vec()).unwrap();
            files.push((name, bytes[content..content + size].to_vec()));
            at = content + size;
        }
        Self(files)
    }

    pub fn file(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    /// Changes text in a file.
    pub fn replace(&mut self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.file(name).clone()).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        *self.file(name) = text.replacen(from, to, 1).into_bytes();
    }

    /// Signs a manifest that tells the files as they are now.
    pub fn sign(mut self, signers: &[Signer]) -> Self {
        let old = String::from_utf8(self.file("manifest").clone()).unwrap();
        let head: String =
            old.lines().take_while(|line| !line.starts_with("file ")).map(|line| format!("{line}\n")).collect();
        let told = self.0[1..].iter().map(|(name, bytes)| format!("file {} {name}\n", Sha256::of(bytes).hex()));
        let text = head + &told.collect::<String>();
        *self.file("manifest") = Note::sign(text, signers).unwrap().to_string().into_bytes();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (mut out, mut central) = (Vec::new(), Vec::new());
        for (name, bytes) in &self.0 {
            let mut head = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
            head.extend(crc32fast::hash(bytes).to_le_bytes());
            head.extend((bytes.len() as u32).to_le_bytes());
            head.extend((bytes.len() as u32).to_le_bytes());
            head.extend((name.len() as u16).to_le_bytes());
            head.extend([0; 2]);
            let offset = (out.len() as u32).to_le_bytes();
            central.extend([b"PK\x01\x02\x0a\x00", head.as_slice(), &[0; 10], &offset, name.as_bytes()].concat());
            out.extend([b"PK\x03\x04", head.as_slice(), name.as_bytes(), bytes].concat());
        }
        let (count, size) = ((self.0.len() as u16).to_le_bytes(), (central.len() as u32).to_le_bytes());
        let offset = (out.len() as u32).to_le_bytes();
        out.extend(central);
        out.extend([b"PK\x05\x06\0\0\0\0", count.as_slice(), &count, &size, &offset, &[0; 2]].concat());
        out
    }
}
