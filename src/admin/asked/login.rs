//! Tokens that other gateways are asked about.

use crate::{
    admin::{others::login::Spend, refresh::Call, respond::Failure},
    login::Verdict,
};

impl<S> Call<S> {
    /// Uses up a token that was made here, for another gateway.
    pub(super) fn spend_own(&self, asked: &Spend) -> Result<(), String> {
        let verdict = self.spend(asked).map_err(|failure| failure.to_string())?;
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Bad(why) => Err(why.to_owned()),
            Verdict::Elsewhere(_) | Verdict::Unknown => Err("not made here".to_owned()),
        }
    }

    fn spend(&self, asked: &Spend) -> Result<Verdict, Failure> {
        let domain = crate::admin::domain(&asked.domain).ok_or(Failure::UnknownDomain)?;
        let login = self.table.served(&domain)?.login.as_ref();
        let login = login.ok_or(Failure::NoLogin)?;
        Ok(login.spend(&asked.user, &asked.token))
    }
}
