//! A method under the present state.

use mmlens_core::{Form, Given, Method, On, Shared, Watch};
use mmlens_engine::Aim;
use serde_json::{Value, json};

use super::{MOST_NUMBERS, WhatIf};
use crate::refusal::{Kind, Of, Refusal};
use crate::reply::{Mapped, Reply};
use crate::request::{Aimed, Fields};

impl<'a> WhatIf<'a> {
    pub(super) fn map(&mut self, name: &str, settings: Fields, watch: &dyn Watch) -> Result<Reply, Refusal> {
        let method = Method::called(self.methods, name)
            .map_err(|error| Refusal::new(Kind::Missing, "method", name, error))?;
        if method.form != Form::OneCase {
            let expected = format!(
                "this method looks at {}, expected one that looks at a sample",
                method.form.describe()
            );
            return Err(Refusal::new(Kind::Missing, "method", name, expected));
        }
        let written = Value::Object(settings);
        let made = method.make(written.clone()).of("settings", &written)?;
        let state = self.state.clone();
        let inputs = self.encode(&state)?;
        let subject = self.under(&state, &inputs, ("method", name))?;
        let shared = match self.shared.take() {
            Some((own, shared)) if own.says_as(&state) => shared,
            _ => Shared::new(),
        };
        let on = On::new(&subject).watched(watch).within(self.settings.memory).sharing(&shared);
        let settled = self.aim(&state.aim).settle(&on, self.sample(&state)).of("aim", json!(state.aim))?;
        let given = Given::new(settled.case.clone()).of("method", name)?;
        let cost = made.cost(&on, &given).of("method", name)?;
        let rows = cost.forward.saturating_add(cost.backward);
        if rows > self.settings.most_rows {
            let expected = format!(
                "it takes {rows} rows through the model, and this session {}",
                self.settings.most_rows
            );
            return Err(Refusal::new(Kind::Size, "method", name, expected));
        }
        let finding = made.run_given(&on, &given).of("method", name)?;
        let cautions = finding.cautions().into_iter().map(|caution| caution.text).collect();
        let answer = finding.answer();
        let Some(table) = answer.first() else {
            return Err(Refusal::new(Kind::Model, "method", name, "it found no table"));
        };
        let numbers: usize = table.shape().iter().product();
        if numbers > MOST_NUMBERS {
            return Err(Refusal::size(
                "method",
                format_args!("{name}, {numbers} numbers"),
                MOST_NUMBERS,
                "numbers",
            ));
        }
        let mapped = Mapped {
            method: method.card.short.to_owned(),
            explained: settled.explained,
            answer: settled.answer,
            table: table.name().to_owned(),
            quantity: table.quantity(),
            axes: table.axes().to_vec(),
            numbers: table.as_numbers().map(<[f32]>::to_vec),
            texts: table.as_texts().map(<[String]>::to_vec),
            cautions,
        };
        self.shared = Some((state, shared));
        Ok(Reply::Mapped(Box::new(mapped)))
    }

    pub(super) fn aim(&self, aim: &Aimed) -> Aim {
        let mut made = Aim::default().at_most(self.settings.max_new);
        if let Some(span) = &aim.span {
            made = made.span(span);
        }
        if let Some(token) = &aim.token {
            made = made.token(token);
        }
        if let Some(versus) = &aim.versus {
            made = made.versus(versus);
        }
        match aim.measure {
            Some(measure) => made.measured(measure),
            None => made,
        }
    }
}
