use crate::Problem;
use crate::mock::with;

const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 64 << 10;
const MAX_KEYS: usize = 1024;
/// All keys and values together: what an operator would usually grant.
const QUOTA: usize = 64 << 10;

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Problem> {
    check(key)?;
    Ok(with(|host| host.kv.get(key).cloned()))
}

pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), Problem> {
    check(key)?;
    with(|host| {
        let others = host.kv.iter().filter(|(other, _)| *other != key);
        let kept: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        if value.len() > MAX_VALUE || kept + key.len() + value.len() > QUOTA {
            return Err(problem("quota", "there is no room for this value"));
        }
        host.kv.insert(key.to_owned(), value.to_vec());
        Ok(())
    })
}

pub(crate) fn delete(key: &str) -> Result<(), Problem> {
    check(key)?;
    with(|host| host.kv.remove(key));
    Ok(())
}

pub(crate) fn keys(prefix: &str) -> Result<Vec<String>, Problem> {
    Ok(with(|host| host.kv.keys().filter(|key| key.starts_with(prefix)).take(MAX_KEYS).cloned().collect()))
}

fn check(key: &str) -> Result<(), Problem> {
    if (1..=MAX_KEY).contains(&key.len()) {
        return Ok(());
    }
    Err(problem("bad-key", "a key has 1 to 128 bytes"))
}

fn problem(code: &str, message: &str) -> Problem {
    Problem { code: code.to_owned(), message: message.to_owned() }
}
