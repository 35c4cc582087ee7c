//! Signatures as forgers make them: wrong padding, wrong encoding, values out of range.

use super::issuer::{Issuer, b64};
use rsa::BigUint;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};

type Forged = Vec<(String, String)>;

/// Curves: algorithm, length of a coordinate, order of the group (SEC 2 sections 2.4.2 and 2.5.1).
pub const CURVES: &[(&str, usize, &str)] = &[
    ("ES256", 32, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    (
        "ES384",
        48,
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
];

/// The order of P-521 (SEC 2 section 2.6.1).
pub const P521_ORDER: &str = "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409";

const SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
const SHA512: &[u8] = &[
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
    0x04, 0x40,
];
const SHA1: &[u8] =
    &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];
/// Without the NULL of the parameters.
const SHA256_NO_NULL: &[u8] =
    &[0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20];
/// With lengths in the long form.
const SHA256_LONG: &[u8] = &[
    0x30, 0x81, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

fn input(issuer: &Issuer, algorithm: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": issuer.id(algorithm)});
    format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
}

/// RSA by the private key over any encoded message (RFC 8017 section 9.2 says the right one), and numbers
/// that are no signatures.
pub fn rsa(issuer: &Issuer, claims: &Value) -> Forged {
    let key = issuer.rsa();
    let input = input(issuer, "RS256", claims);
    let digest = hmac_sha256::Hash::hash(input.as_bytes());
    let to_bytes = |number: &BigUint, length: usize| {
        let bytes = number.to_bytes_be();
        [vec![0; length.saturating_sub(bytes.len())], bytes].concat()
    };
    let raw = |message: &[u8]| to_bytes(&BigUint::from_bytes_be(message).modpow(key.d(), key.n()), 256);
    let encode = |kind: u8, pad: u8, separator: u8, info: &[u8], tail: &[u8]| {
        let payload = [info, tail].concat();
        let padding = vec![pad; 256 - 3 - payload.len()];
        [&[0, kind], padding.as_slice(), &[separator], &payload].concat()
    };
    let right = encode(1, 0xff, 0, SHA256, &digest);
    let short = |length: usize, fill: u8| {
        let start = [&[0, 1], vec![0xff; length].as_slice(), &[0], SHA256, &digest].concat();
        let rest = vec![fill; 256 - start.len()];
        [start, rest].concat()
    };
    let changed = |at: usize, value: u8| {
        let mut message = right.clone();
        message[at] = value;
        message
    };
    let mut inside = SHA256.to_vec();
    (inside[1], inside[3], inside[16]) = (0x31 + 16, 0x0d + 16, 0x10);
    inside.splice(17..17, [0xaa; 16]);
    let messages: Vec<(&str, Vec<u8>)> = vec![
        ("one byte of padding, rubbish behind", short(1, 0xaa)),
        ("eight bytes of padding, rubbish behind", short(8, 0xaa)),
        ("padding short by one, zero behind", short(201, 0)),
        ("padding short by one, rubbish behind", short(201, 1)),
        ("no padding", short(0, 0)),
        ("block type 2", encode(2, 0xff, 0, SHA256, &digest)),
        ("block type 0", encode(0, 0, 0, SHA256, &digest)),
        ("padding of zeros", encode(1, 0, 0, SHA256, &digest)),
        ("padding of 0xfe", encode(1, 0xfe, 0, SHA256, &digest)),
        ("one byte of padding changed", changed(100, 0)),
        ("first byte not zero", changed(0, 1)),
        ("no separator", encode(1, 0xff, 0xff, SHA256, &digest)),
        ("digest without DigestInfo", encode(1, 0xff, 0, &[], &digest)),
        ("DigestInfo without NULL", encode(1, 0xff, 0, SHA256_NO_NULL, &digest)),
        ("DigestInfo with long lengths", encode(1, 0xff, 0, SHA256_LONG, &digest)),
        ("DigestInfo of SHA-1", encode(1, 0xff, 0, SHA1, &digest[..20])),
        ("DigestInfo of SHA-512", encode(1, 0xff, 0, SHA512, &[digest, digest].concat())),
        ("rubbish in the parameters", encode(1, 0xff, 0, &inside, &digest)),
        ("digest cut", encode(1, 0xff, 0, SHA256, &digest[..31])),
        ("another digest", encode(1, 0xff, 0, SHA256, &[7; 32])),
        ("no message", encode(1, 0xff, 0, &[], &[])),
    ];
    let mut forged: Forged = messages
        .into_iter()
        .map(|(name, message)| (name.to_owned(), format!("{input}.{}", b64(raw(&message)))))
        .collect();
    let good = issuer.sign("RS256", input.as_bytes());
    assert_eq!(raw(&right), good, "the forger pads as the library does");
    let one = BigUint::from(1_u8);
    let n = key.n();
    let above = BigUint::from_bytes_be(&good) + n;
    for (name, signature) in [
        ("zero", vec![0; 256]),
        ("one", to_bytes(&one, 256)),
        ("modulus", to_bytes(n, 256)),
        ("modulus less one", to_bytes(&(n - &one), 256)),
        ("modulus more one", to_bytes(&(n + &one), 256)),
        ("all ones", vec![0xff; 256]),
        ("signature and modulus", to_bytes(&above, 256)),
        ("signature and modulus, a byte more", to_bytes(&above, 257)),
        ("a zero in front", [&[0], good.as_slice()].concat()),
        ("a zero behind", [good.as_slice(), &[0]].concat()),
        ("the first byte off", good[1..].to_vec()),
        ("the last byte off", good[..255].to_vec()),
        ("empty", Vec::new()),
        ("twice", [good.clone(), good.clone()].concat()),
        ("modulus less the signature", to_bytes(&(n - BigUint::from_bytes_be(&good)), 256)),
        ("backwards", good.iter().rev().copied().collect()),
    ] {
        forged.push((name.to_owned(), format!("{input}.{}", b64(signature))));
    }
    forged.extend(pss(issuer, claims));
    forged
}

/// PSS with a salt of another length than the hash's (RFC 7518 section 3.5).
fn pss(issuer: &Issuer, claims: &Value) -> Forged {
    use rsa::pss::BlindedSigningKey;
    use rsa::sha2::Sha256;
    use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
    let input = input(issuer, "PS256", claims);
    let forge = |salt: usize| {
        let key = BlindedSigningKey::<Sha256>::new_with_salt_len(issuer.rsa().clone(), salt);
        let signature = key.sign_with_rng(&mut rsa::rand_core::OsRng, input.as_bytes()).to_vec();
        (format!("PSS with a salt of {salt} bytes"), format!("{input}.{}", b64(signature)))
    };
    [0, 20, 31, 33, 222].into_iter().map(forge).collect()
}

/// Values out of range, and other encodings than r and s behind each other (RFC 7518 section 3.4).
pub fn ecdsa(issuer: &Issuer, algorithm: &str, half: usize, order: &str, claims: &Value) -> Forged {
    let input = input(issuer, algorithm, claims);
    let good = issuer.sign(algorithm, input.as_bytes());
    let (r, s) = good.split_at(half);
    let order = BigUint::parse_bytes(order.as_bytes(), 16).unwrap();
    let fixed = |number: &BigUint| {
        let bytes = number.to_bytes_be();
        [vec![0; half - bytes.len()], bytes].concat()
    };
    let (n, above, zero, one) =
        (fixed(&order), fixed(&(&order + 1_u8)), vec![0; half], fixed(&BigUint::from(1_u8)));
    let integer = |number: &[u8]| {
        let pad: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (number.len() + pad.len()) as u8], pad, number].concat()
    };
    let both = [integer(r), integer(s)].concat();
    let der = [&[0x30, both.len() as u8], both.as_slice()].concat();
    let ones = vec![0xff; half];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("r and s zero", [zero.clone(), zero.clone()].concat()),
        ("r zero", [&zero, s].concat()),
        ("s zero", [r, &zero].concat()),
        ("r and s one", [one.clone(), one].concat()),
        ("r and s the order", [n.clone(), n.clone()].concat()),
        ("r the order", [&n, s].concat()),
        ("s the order", [r, &n].concat()),
        ("r and s above the order", [above.clone(), above.clone()].concat()),
        ("s above the order", [r, &above].concat()),
        ("all ones", [ones.clone(), ones].concat()),
        ("DER", der),
        ("s before r", [s, r].concat()),
        ("the first byte off", good[1..].to_vec()),
        ("the last byte off", good[..good.len() - 1].to_vec()),
        ("zeros in front of r and s", [&[0], r, &[0], s].concat()),
        ("a zero in front", [&[0], good.as_slice()].concat()),
        ("a zero behind", [good.as_slice(), &[0]].concat()),
        ("r alone", r.to_vec()),
        ("empty", Vec::new()),
        ("twice", [good.clone(), good.clone()].concat()),
        ("one bit", good.iter().enumerate().map(|(at, b)| if at == 40 { b ^ 1 } else { *b }).collect()),
    ];
    cases
        .into_iter()
        .map(|(name, signature)| (name.to_owned(), format!("{input}.{}", b64(signature))))
        .collect()
}

/// The order of the group less s: a second valid signature.
pub fn other_s(issuer: &Issuer, claims: &Value) -> String {
    let input = input(issuer, "ES256", claims);
    let good = issuer.sign("ES256", input.as_bytes());
    let order = BigUint::parse_bytes(CURVES[0].2.as_bytes(), 16).unwrap();
    let other = (order - BigUint::from_bytes_be(&good[32..])).to_bytes_be();
    let signature = [&good[..32], &vec![0; 32 - other.len()], other.as_slice()].concat();
    format!("{input}.{}", b64(signature))
}

/// s beyond the order (RFC 8032 section 5.1.7), points of small order, cut ones.
pub fn ed25519(issuer: &Issuer, claims: &Value) -> Forged {
    let input = input(issuer, "EdDSA", claims);
    let good = issuer.sign("EdDSA", input.as_bytes());
    let order = BigUint::parse_bytes(b"1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)
        .unwrap();
    let beyond = (BigUint::from_bytes_le(&good[32..]) + order).to_bytes_le();
    let mut identity = vec![0; 64];
    identity[0] = 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("s beyond the order", [&good[..32], beyond.as_slice()].concat()),
        ("zero", vec![0; 64]),
        ("the identity", identity),
        ("all ones", vec![0xff; 64]),
        ("cut", good[..63].to_vec()),
        ("a zero behind", [good.as_slice(), &[0]].concat()),
        ("halves exchanged", [&good[32..], &good[..32]].concat()),
        ("empty", Vec::new()),
    ];
    cases
        .into_iter()
        .map(|(name, signature)| (name.to_owned(), format!("{input}.{}", b64(signature))))
        .collect()
}
