//! How much one agent may order and spend in one store: what a policy limits, what was counted, and
//! whether one more order fits. Counting itself belongs to the ledger.

/// What a policy limits. `None`: not limited. Money in minor units of the policy's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    pub orders_per_hour: Option<u32>,
    pub spend_per_hour: Option<i64>,
    pub spend_per_day: Option<i64>,
}

impl Limits {
    /// False where nobody has to count.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.orders_per_hour.is_some() || self.spend_per_hour.is_some() || self.spend_per_day.is_some()
    }

    /// Whether an order of `amount` fits on top of what was counted; the first limit that it would
    /// pass otherwise.
    pub fn admit(&self, counted: Usage, amount: i64) -> Result<(), Exceeded> {
        let orders = self.orders_per_hour.map(i64::from);
        let checks = [
            (Rule::OrdersPerHour, i64::from(counted.orders_last_hour), 1, orders),
            (Rule::SpendPerHour, counted.spent_last_hour, amount, self.spend_per_hour),
            (Rule::SpendPerDay, counted.spent_last_day, amount, self.spend_per_day),
        ];
        for (rule, counted, more, limit) in checks {
            let Some(limit) = limit else { continue };
            if counted.saturating_add(more) > limit {
                return Err(Exceeded { rule, counted, limit });
            }
        }
        Ok(())
    }
}

/// What was counted for one agent in one store: reservations that were not released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub orders_last_hour: u32,
    /// Minor units of the policy's currency.
    pub spent_last_hour: i64,
    pub spent_last_day: i64,
}

/// A limit that an order would pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    pub rule: Rule,
    pub counted: i64,
    pub limit: i64,
}

/// The limits, by the names that refusals tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    OrdersPerHour,
    SpendPerHour,
    SpendPerDay,
}

impl Rule {
    pub const ALL: [Self; 3] = [Self::OrdersPerHour, Self::SpendPerHour, Self::SpendPerDay];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrdersPerHour => "velocity.orders_per_hour",
            Self::SpendPerHour => "velocity.spend_per_hour",
            Self::SpendPerDay => "velocity.spend_per_day",
        }
    }

    /// True where the numbers are money.
    #[must_use]
    pub const fn is_money(self) -> bool {
        matches!(self, Self::SpendPerHour | Self::SpendPerDay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_may_reach_a_limit_and_not_pass_it() {
        let limits = Limits { orders_per_hour: Some(2), spend_per_hour: Some(100), spend_per_day: Some(150) };
        let used = |orders, hour, day| Usage { orders_last_hour: orders, spent_last_hour: hour, spent_last_day: day };
        let rule = |counted, amount| limits.admit(counted, amount).map_err(|exceeded| exceeded.rule);
        assert_eq!(rule(used(1, 60, 60), 40), Ok(()));
        assert_eq!(rule(used(2, 0, 0), 1), Err(Rule::OrdersPerHour));
        assert_eq!(rule(used(1, 61, 61), 40), Err(Rule::SpendPerHour));
        assert_eq!(rule(used(1, 0, 111), 40), Err(Rule::SpendPerDay));
        assert_eq!(rule(used(0, 0, 0), i64::MAX), Err(Rule::SpendPerHour));
        assert!(Limits::default().admit(used(9, 9, i64::MAX), i64::MAX).is_ok());
    }
}
