'use strict';
// A payment provider that answers as it is told: the payment session's data has {"outcome": "declined" | "pending"},
// anything else authorises. Medusa's own system provider always authorises.
const { AbstractPaymentProvider, MedusaError, ModuleProvider, Modules } = require('@medusajs/framework/utils');

class Card extends AbstractPaymentProvider {
  static identifier = 'card';

  async initiatePayment({ data }) {
    return { id: `card_${Date.now()}`, status: 'pending', data };
  }

  async authorizePayment({ data }) {
    if (data.outcome === 'error') throw new MedusaError(MedusaError.Types.PAYMENT_AUTHORIZATION_ERROR, 'The card failed');
    const status = { declined: 'error', pending: 'pending', more: 'requires_more' }[data.outcome] ?? 'authorized';
    return { status, data };
  }

  async capturePayment({ data }) { return { data }; }
  async cancelPayment({ data }) { return { data }; }
  async deletePayment({ data }) { return { data }; }
  async refundPayment({ data }) { return { data }; }
  async retrievePayment({ data }) { return { data }; }
  async updatePayment({ data }) { return { data }; }
  async getPaymentStatus() { return { status: 'authorized' }; }
  async getWebhookActionAndData() { return { action: 'not_supported' }; }
}

module.exports = ModuleProvider(Modules.PAYMENT, { services: [Card] });
