//! A connection as text: a URL, environment variables, psql's arguments.

use nap_control::ConnectionReport;

use super::quote::{percent, shell};

/// Where the path of a URL leads: `DB@BRANCH`.
fn database_at_branch(report: &ConnectionReport) -> String {
    format!("{}@{}", report.database, report.branch)
}

fn url_of(report: &ConnectionReport, role: &str, database: &str) -> String {
    let password = report.password.as_ref().map(|password| format!(":{}", percent(password, b""))).unwrap_or_default();
    format!("postgresql://{}{password}@{}:{}/{}", percent(role, b""), report.host, report.port, percent(database, b"@"),)
}

/// `postgresql://role:password@localhost:5432/DB@BRANCH`
pub(crate) fn url(report: &ConnectionReport) -> String {
    url_of(report, &report.role, &database_at_branch(report))
}

/// The same over TLS, with the server's certificate and the host's name in it verified.
pub(crate) fn verified_url(report: &ConnectionReport) -> String {
    let root = report.root_certificate.as_ref().map(|file| percent(&file.to_string_lossy(), b"/"));
    let root = root.map(|file| format!("&sslrootcert={file}")).unwrap_or_default();
    format!("{}?sslmode=verify-full{root}", url(report))
}

/// Variables for programs that stay in the database they are given: through the branch's own socket directory if
/// there is one, else by the database's name.
pub(crate) fn variables(report: &ConnectionReport) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    match report.door.as_deref().and_then(|door| door.to_str()) {
        Some(door) => {
            variables.push(("PGHOST", door.to_owned()));
            variables.push(("PGDATABASE", report.database.clone()));
        }
        None => {
            variables.push(("PGHOST", report.host.clone()));
            variables.push(("PGDATABASE", database_at_branch(report)));
            variables.extend(report.password.clone().map(|password| ("PGPASSWORD", password)));
        }
    }
    variables.push(("PGPORT", report.port.to_string()));
    variables.push(("PGUSER", report.role.clone()));
    variables.push(("DATABASE_URL", url(report)));
    variables
}

/// Variables for programs that change the database by themselves (test runners, `pg_restore -C`): the role names the
/// branch, so that every database they go to is on it.
pub(crate) fn tool_variables(report: &ConnectionReport) -> Vec<(&'static str, String)> {
    let role = format!("{}@{}", report.role, report.branch);
    let url = url_of(report, &role, &report.database);
    let mut variables = vec![
        ("PGHOST", report.host.clone()),
        ("PGPORT", report.port.to_string()),
        ("PGUSER", role),
        ("PGDATABASE", report.database.clone()),
    ];
    variables.extend(report.password.clone().map(|password| ("PGPASSWORD", password)));
    variables.push(("DATABASE_URL", url));
    variables
}

/// The psql command line that goes through the branch's door, if there is one.
pub(crate) fn psql_through_door(report: &ConnectionReport) -> Option<String> {
    let door = report.door.as_deref()?.to_str()?;
    Some(format!("psql -h {} -p {} -U {} {}", shell(door), report.port, shell(&report.role), shell(&report.database)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report() -> ConnectionReport {
        ConnectionReport {
            branch: "dev".parse().unwrap(),
            default: false,
            host: "localhost".into(),
            port: 5433,
            role: "al ice".into(),
            database: "shop/1".into(),
            password: Some("p@:/%".into()),
            door: Some("/h/run/dev".into()),
            default_socket_directory: None,
            ssl: true,
            root_certificate: Some("/h o/tls/root.crt".into()),
        }
    }

    #[test]
    fn the_url_escapes_all_but_the_at_of_its_path() {
        assert_eq!(url(&report()), "postgresql://al%20ice:p%40%3A%2F%25@localhost:5433/shop%2F1@dev");
        let no_password = ConnectionReport { password: None, ..report() };
        assert_eq!(url(&no_password), "postgresql://al%20ice@localhost:5433/shop%2F1@dev");
    }

    #[test]
    fn the_verified_url_names_the_root_that_there_is() {
        let verified = verified_url(&report());
        assert_eq!(verified, format!("{}?sslmode=verify-full&sslrootcert=/h%20o/tls/root.crt", url(&report())));
        let given = ConnectionReport { root_certificate: None, ..report() };
        assert_eq!(verified_url(&given), format!("{}?sslmode=verify-full", url(&report())));
    }

    #[test]
    fn without_a_door_the_database_names_the_branch() {
        let report = ConnectionReport { door: None, ..report() };
        let variables = variables(&report);
        assert!(variables.contains(&("PGHOST", "localhost".into())));
        assert!(variables.contains(&("PGDATABASE", "shop/1@dev".into())));
        assert!(variables.contains(&("PGPASSWORD", "p@:/%".into())));
    }

    #[test]
    fn tools_name_the_branch_by_their_role() {
        let variables = tool_variables(&report());
        assert!(variables.contains(&("PGUSER", "al ice@dev".into())));
        assert!(variables.contains(&("PGDATABASE", "shop/1".into())));
        let url = "postgresql://al%20ice%40dev:p%40%3A%2F%25@localhost:5433/shop%2F1";
        assert!(variables.contains(&("DATABASE_URL", url.into())));
    }
}
