//! What this gateway asks the others for a call, and what it does when they ask it (`…_own`). There are as many as there are
//! kinds of questions.

mod answers;
mod end;
mod login;
mod presence;
mod put;
mod refresh;
mod roster;
mod sessions;
