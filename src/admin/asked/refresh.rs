//! Refreshes of users whose sessions may be at other gateways. Each fetches for its own. Where the server holds the lists,
//! the gateway that is asked writes them, and nobody else.

use crate::{
    admin::{
        Lists,
        jobs::Job,
        others::{
            Words,
            refresh::{Shared, Told},
        },
        refresh::Call,
        respond::Failure,
    },
    backend::ContactSource,
    cluster::Question,
};

impl<S: ContactSource + 'static> Call<S> {
    /// Has the others refresh those of the users who have sessions there.
    pub(in crate::admin) async fn refresh_elsewhere(&self, shared: &Shared) -> Words<Told> {
        let (others, mut words, mut before) = (&self.others, Words::default(), 0);
        for users in shared.questions() {
            let asking = others.ask_all::<Told>(Question::Refresh, &users, self.deadline);
            match self.in_time(asking).await {
                Ok(Words { said, failures }) => {
                    let said = said.into_iter();
                    let said = said.map(|(node, told)| (node, told.after(before)));
                    words.said.extend(said);
                    words.failures.extend(failures);
                }
                Err(failure) => words.failures.push(failure),
            }
            if !words.failures.is_empty() {
                // All of the users count as failed.
                break;
            }
            before += users.len();
        }
        words
    }

    /// Refreshes those of the users who have sessions here, for another gateway.
    pub(super) async fn refresh_own(&self, users: &[String]) -> Told {
        let mut failures = vec![Some(Failure::Deadline { after: self.after }); users.len()];
        // Gateways that waited for each other's turns would wait for ever.
        let turn = self.in_time(self.turns.of_others(users.len())).await;
        let _turn = match turn {
            Ok(turn) => turn,
            Err(failure) => {
                failures.fill(Some(failure));
                return Told::new(&failures);
            }
        };
        let (jobs, _) = self.jobs(users, None, &mut failures).await;
        let (own, written): (Vec<Job<S>>, _) = jobs
            .into_iter()
            .partition(|job| matches!(job.lists, Lists::Gateway(_)));
        for entry in written.into_iter().flat_map(|job| job.entries) {
            failures[entry] = None;
        }
        let jobs = self.pass_over(own, &mut failures).await;
        if let Some(rest) = self.run(jobs, &mut failures).await {
            let turns = &self.turns;
            rest.go_on(|size| turns.place(size));
        }
        Told::new(&failures)
    }
}
