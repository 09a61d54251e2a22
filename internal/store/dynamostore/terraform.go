package dynamostore

func terraform(t Target) string {
	return filled(terraformTemplate, t, func(name string) string { return `      "` + name + `",` })
}

const terraformTemplate = `# The tables of Stepgate and the policy of its gateways, as stepgate tables create makes them.
# Printed by: stepgate tables create --print terraform

variable "passkeys_table" {
  description = "Users and their passkeys (the option passkeys_table)"
  type        = string
  default     = "<passkeys>"
}

variable "challenges_table" {
  description = "Ceremonies under way (the option challenges_table); another name than the other table's"
  type        = string
  default     = "<challenges>"
}

# Whoever loses this table asks everybody to register anew, so nothing here deletes it. It must have no time to live.
resource "aws_dynamodb_table" "stepgate_passkeys" {
  name                        = var.passkeys_table
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "<pk>"
  range_key                   = "<sk>"
  deletion_protection_enabled = true

  attribute {
    name = "<pk>"
    type = "S"
  }

  attribute {
    name = "<sk>"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

# What is in this table lives for minutes, so it is not kept and not backed up.
resource "aws_dynamodb_table" "stepgate_challenges" {
  name         = var.challenges_table
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "<pk>"
  range_key    = "<sk>"

  attribute {
    name = "<pk>"
    type = "S"
  }

  attribute {
    name = "<sk>"
    type = "S"
  }

  ttl {
    attribute_name = "<expires>"
    enabled        = true
  }
}

# Attach it to the role of the gateways, and to nothing else: who can write to the tables can put a passkey of their own
# into anybody's account.
data "aws_iam_policy_document" "stepgate_gateway" {
  statement {
    sid = "StepgatePasskeys"
    actions = [
<passkeys actions>
    ]
    resources = [aws_dynamodb_table.stepgate_passkeys.arn]
  }

  statement {
    sid = "StepgateChallenges"
    actions = [
<challenges actions>
    ]
    resources = [aws_dynamodb_table.stepgate_challenges.arn]
  }
}

resource "aws_iam_policy" "stepgate_gateway" {
  name_prefix = "stepgate-gateway-"
  description = "What a running Stepgate calls, and nothing else"
  policy      = data.aws_iam_policy_document.stepgate_gateway.json
}

output "stepgate_passkeys_table_arn" {
  value = aws_dynamodb_table.stepgate_passkeys.arn
}

output "stepgate_challenges_table_arn" {
  value = aws_dynamodb_table.stepgate_challenges.arn
}

output "stepgate_gateway_policy_arn" {
  description = "To attach to the role of the gateways"
  value       = aws_iam_policy.stepgate_gateway.arn
}
`
