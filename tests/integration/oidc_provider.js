// Copyright: the carrel.jupyter authors
// SPDX-License-Identifier: GPL-3.0-or-later
// A real OpenID provider whose form lets anybody in under any name; the name becomes preferred_username.
'use strict';
const { default: Provider } = require('oidc-provider');

const [issuer, callback] = process.argv.slice(2);
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'hub',
    client_secret: process.env.CLIENT_SECRET,
    redirect_uris: [callback],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: ['statistics'] }),
  }),
  features: { devInteractions: { enabled: true } },
});
provider.listen(9000);
