// node-xmpp-bosh looks its XMPP server up by SRV, or dials port 5222; here it is a port of this machine.
'use strict'

const lookup = require('./node_modules/dns-srv')

lookup.connect = socket => socket.connect(Number(process.env.UPSTREAM_PORT), '127.0.0.1')
