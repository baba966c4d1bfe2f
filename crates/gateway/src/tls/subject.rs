//! Whom a client's certificate is for, in the words that PostgreSQL (which is to say OpenSSL) would use.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag, ToDer as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::client::ClientCertificate;

/// A name that could be mistaken for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSubject {
    #[error("SSL certificate's common name contains embedded null")]
    NullInCommonName,
    #[error("SSL certificate's distinguished name contains embedded null")]
    NullInDistinguishedName,
    #[error("the client's certificate cannot be read: {0}")]
    Unreadable(String),
}

/// OpenSSL's short names of what stands in the names of people, hosts and organisations.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// Reads a certificate that has been verified.
pub(super) fn client_certificate(certificate: &[u8]) -> Result<ClientCertificate, BadSubject> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| BadSubject::Unreadable(error.to_string()))?;
    let subject = parsed.subject();
    let common_name = subject.iter_common_name().next().and_then(|attribute| text(attribute.attr_value()));
    if common_name.as_deref().is_some_and(|name| name.contains('\0')) {
        return Err(BadSubject::NullInCommonName);
    }
    let nameless =
        |attribute: &AttributeTypeAndValue<'_>| text(attribute.attr_value()).is_some_and(|value| value.contains('\0'));
    if subject.iter_attributes().any(nameless) {
        return Err(BadSubject::NullInDistinguishedName);
    }
    Ok(ClientCertificate { common_name, distinguished_name: distinguished_name(subject) })
}

/// `X509_NAME_print_ex` with `XN_FLAG_RFC2253`: the last part first, multiple values joined by `+`.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let part = |values: Vec<&AttributeTypeAndValue<'_>>| -> String {
        values.into_iter().rev().map(attribute).collect::<Vec<_>>().join("+")
    };
    parts.into_iter().rev().map(|values| part(values.iter().collect())).collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = SHORT_NAMES.iter().find(|(known, _)| *known == oid);
    match (known, text(attribute.attr_value())) {
        (Some((_, name)), Some(value)) => format!("{name}={}", escape(&value)),
        // What OpenSSL cannot name or read it dumps.
        (known, _) => format!("{}=#{}", known.map_or(oid.as_str(), |(_, name)| name), hex(attribute.attr_value())),
    }
}

/// A string of any of ASN.1's kinds.
fn text(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String => String::from_utf8(bytes.to_vec()).ok(),
        // To OpenSSL these are bytes of Latin-1.
        Tag::PrintableString
        | Tag::NumericString
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::T61String
        | Tag::UtcTime
        | Tag::GeneralizedTime => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units =
                bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok().filter(|_| bytes.len().is_multiple_of(2))
        }
        Tag::UniversalString => {
            let units =
                bytes.chunks_exact(4).map(|four| four.iter().fold(0, |unit, byte| unit << 8 | u32::from(*byte)));
            units.map(char::from_u32).collect::<Option<String>>().filter(|_| bytes.len().is_multiple_of(4))
        }
        _ => None,
    }
}

/// What has a meaning in a distinguished name gets a backslash; what is not printable ASCII its bytes in UTF-8.
fn escape(value: &str) -> String {
    let mut escaped = String::new();
    let last = value.char_indices().last().map_or(0, |(at, _)| at);
    for (at, c) in value.char_indices() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => escaped.extend(['\\', c]),
            ' ' if at == 0 || at == last => escaped.push_str("\\ "),
            '#' if at == 0 => escaped.push_str("\\#"),
            ' '..='~' => escaped.push(c),
            _ => {
                for byte in c.to_string().bytes() {
                    let _ = write!(escaped, "\\{byte:02X}");
                }
            }
        }
    }
    escaped
}

fn hex(value: &Any<'_>) -> String {
    let bytes = value.to_der_vec().unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
