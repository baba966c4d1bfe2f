//! The bodies of the messages of a login, the server's as well: nothing in them may make the gateway fall.

use nap_wire::messages::{
    ErrorFields, backend_key_data, error_response, parameter_status, parse_authentication, parse_backend_key_data,
    parse_error_response, parse_parameter_status, parse_sasl_initial_response,
};

/// Text that is not UTF-8 grows threefold.
pub(crate) const TARGET: crate::Target = crate::Target { name: "messages", check, parse, allocates: (1024, 4) };

fn parse(data: &[u8]) {
    let _ = parse_error_response(data);
}

fn check(data: &[u8]) {
    let fields: ErrorFields = parse_error_response(data);
    let mut again = Vec::new();
    error_response(&mut again, &fields);
    assert_eq!(parse_error_response(&again[5..]), fields);

    for minor in [0, 2] {
        if let Some(key) = parse_backend_key_data(data, minor) {
            let mut again = Vec::new();
            backend_key_data(&mut again, &key);
            assert_eq!(again[5..], *data);
        }
    }
    if let Some((name, value)) = parse_parameter_status(data)
        && let Ok(value) = str::from_utf8(value)
    {
        let mut again = Vec::new();
        parameter_status(&mut again, name, value);
        assert_eq!(again[5..], *data);
    }
    if let Some((_, rest)) = parse_authentication(data) {
        assert_eq!(rest, &data[4..]);
    }
    if let Some(initial) = parse_sasl_initial_response(data) {
        let length = initial.data.map_or(0, <[u8]>::len);
        assert_eq!(initial.mechanism.len() + 5 + length, data.len());
    }
}
